//! Stubs of `batchyard.v1` and of the google packages that it speaks.

pub mod batchyard {
    pub mod v1 {
        tonic::include_proto!("batchyard.v1");
    }
}

pub mod google {
    pub mod longrunning {
        tonic::include_proto!("google.longrunning");
    }
    pub mod rpc {
        tonic::include_proto!("google.rpc");
    }
}
