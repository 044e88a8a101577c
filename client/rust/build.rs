//! Generates the stubs from `proto/` and the google protos that they import, which client/stubs.sh stages.

use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let proto = root.join("proto");
    let staged = root.join("build/stubs/googleapis");
    let mut files: Vec<PathBuf> = std::fs::read_dir(proto.join("batchyard/v1"))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "proto"));
    files.push(proto.join("google/longrunning/operations.proto"));

    let mut config = prost_build::Config::new();
    config.protoc_executable(protoc_bin_vendored::protoc_bin_path()?);
    // `Any::to_msg` finds the message type by this name.
    config.enable_type_names();
    let include = protoc_bin_vendored::include_path()?;
    tonic_prost_build::configure().build_server(false).compile_with_config(
        config,
        &files,
        &[proto, staged, include],
    )?;
    Ok(())
}
