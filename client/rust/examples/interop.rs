//! Submits a batch to the handler `echo` through the generated stubs, waits for it and reads it back.
//!
//! Usage: `interop HOST:PORT < RECORDS`, one JSON text per line. It prints, one per line: the outputs that ListRecords
//! gave, in index order; those that StreamRecords gave; the final state and the count of succeeded records; code,
//! reason and domain of the error of a call that must fail. tests/interop compares them.

use std::error::Error;
use std::time::Duration;

use batchyard::batchyard::v1::batch_task_service_client::BatchTaskServiceClient;
use batchyard::batchyard::v1::{
    BatchTaskInfo, BatchTaskMetadata, CreateBatchTaskRequest, GetBatchTaskRequest, ListRecordsRequest, Payload,
    RecordInfo, RecordInput, StreamRecordsRequest, payload, record_info,
};
use batchyard::google::longrunning::operations_client::OperationsClient;
use batchyard::google::longrunning::{Operation, WaitOperationRequest, operation};
use tonic::transport::{Channel, Endpoint};
use tonic_types::StatusExt;

type Service = BatchTaskServiceClient<Channel>;
type Outcome<T> = Result<T, Box<dyn Error>>;

const PROJECT: &str = "projects/default";
const PAGE_SIZE: i32 = 7; // small, so that several pages are read

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    let target = std::env::args().nth(1).ok_or("usage: interop HOST:PORT < RECORDS")?;
    let endpoint = Endpoint::try_from(format!("http://{target}"))?.timeout(Duration::from_secs(120));
    let channel = endpoint.connect().await?;
    let mut service = BatchTaskServiceClient::new(channel.clone());

    let operation = submit_and_wait(&mut service, OperationsClient::new(channel)).await?;
    let task: BatchTaskInfo = match operation.result {
        Some(operation::Result::Response(any)) => any.to_msg()?,
        other => return Err(format!("expected a response, got {other:?}").into()),
    };
    let metadata: BatchTaskMetadata = operation.metadata.ok_or("no metadata")?.to_msg()?;
    list(&mut service, &task.name).await?;
    stream(&mut service, &task.name).await?;
    println!("{} {}", task.state().as_str_name(), metadata.counts.unwrap_or_default().succeeded);
    wrong_call(&mut service).await
}

async fn submit_and_wait(service: &mut Service, mut operations: OperationsClient<Channel>) -> Outcome<Operation> {
    let mut records = Vec::new();
    for line in std::io::stdin().lines() {
        let payload = Payload { kind: Some(payload::Kind::Text(line?)), ..Default::default() };
        records.push(RecordInput { payload: Some(payload), ..Default::default() });
    }
    let batch_task = BatchTaskInfo {
        handler: "echo".into(),
        labels: [("language".into(), "rust".into())].into(),
        ..Default::default()
    };
    let request =
        CreateBatchTaskRequest { parent: PROJECT.into(), batch_task: Some(batch_task), records, ..Default::default() };
    let mut operation = service.create_batch_task(request).await?.into_inner();
    while !operation.done {
        let timeout = Some(prost_types::Duration { seconds: 30, nanos: 0 });
        let request = WaitOperationRequest { name: operation.name, timeout };
        operation = operations.wait_operation(request).await?.into_inner();
    }
    Ok(operation)
}

async fn list(service: &mut Service, task: &str) -> Outcome<()> {
    let mut request = ListRecordsRequest { parent: task.into(), page_size: PAGE_SIZE, ..Default::default() };
    let mut next = 0;
    loop {
        let page = service.list_records(request.clone()).await?.into_inner();
        next = show(page.records, next)?;
        if page.next_page_token.is_empty() {
            return Ok(());
        }
        request.page_token = page.next_page_token;
    }
}

async fn stream(service: &mut Service, task: &str) -> Outcome<()> {
    let mut request = StreamRecordsRequest { parent: task.into(), page_size: PAGE_SIZE, ..Default::default() };
    request.set_order(record_info::Order::Index);
    request.set_view(record_info::View::Full);
    let mut messages = service.stream_records(request).await?.into_inner();
    let mut next = 0;
    while let Some(message) = messages.message().await? {
        next = show(message.records, next)?;
    }
    Ok(())
}

/// Prints the outputs of records that must begin at index `next`, and returns the index after them.
fn show(records: Vec<RecordInfo>, mut next: i64) -> Outcome<i64> {
    for record in records {
        let state = record.state();
        let output = record.output.and_then(|output| output.kind);
        let (Some(index), record_info::State::Succeeded, Some(payload::Kind::Text(text))) =
            (record.index, state, output)
        else {
            return Err(format!("expected record {next} to have succeeded, got {state:?}").into());
        };
        if index != next {
            return Err(format!("expected record {next}, got {index}").into());
        }
        println!("{text}");
        next += 1;
    }
    Ok(next)
}

async fn wrong_call(service: &mut Service) -> Outcome<()> {
    let request = GetBatchTaskRequest { name: format!("{PROJECT}/batchTasks/no-such-task") };
    let Err(status) = service.get_batch_task(request).await else {
        return Err("a task that does not exist was found".into());
    };
    if let Some(info) = status.get_details_error_info() {
        println!("{} {} {}", i32::from(status.code()), info.reason, info.domain);
    }
    Ok(())
}
