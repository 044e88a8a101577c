// Submits a batch to the handler `echo` through the generated stubs, waits for it and reads it back.
//
// Usage: node interop.js HOST:PORT < RECORDS, one JSON text per line. It prints, one per line: the outputs that
// ListRecords gave, in index order; those that StreamRecords gave; the final state and the count of succeeded records;
// code, reason and domain of the error of a call that must fail. tests/interop compares them.
import { readFileSync } from "node:fs";
import { anyUnpack } from "@bufbuild/protobuf/wkt";
import { type Client, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import {
  type BatchTaskInfo,
  BatchTaskInfo_State,
  BatchTaskInfoSchema,
  BatchTaskMetadataSchema,
} from "./gen/batchyard/v1/batch_task_pb.js";
import { BatchTaskService } from "./gen/batchyard/v1/batch_task_service_pb.js";
import {
  type RecordInfo,
  RecordInfo_Order,
  RecordInfo_State,
  RecordInfo_View,
} from "./gen/batchyard/v1/record_pb.js";
import { Operations } from "./gen/google/longrunning/operations_pb.js";
import { ErrorInfoSchema } from "./gen/google/rpc/error_details_pb.js";

type Service = Client<typeof BatchTaskService>;

const project = "projects/default";
const pageSize = 7; // small, so that several pages are read

/** Returns the task as it ended and, from the operation's metadata, how many records succeeded. */
async function submitAndWait(
  service: Service,
  operations: Client<typeof Operations>,
): Promise<[BatchTaskInfo, bigint]> {
  const lines = readFileSync(0, "utf8").trimEnd().split("\n");
  let operation = await service.createBatchTask({
    parent: project,
    batchTask: { handler: "echo", labels: { language: "typescript" } },
    records: lines.map((line) => ({ payload: { kind: { case: "text", value: line } } })),
  });
  while (!operation.done) {
    operation = await operations.waitOperation(
      { name: operation.name, timeout: { seconds: 30n } },
      { timeoutMs: 40_000 },
    );
  }
  if (operation.result.case !== "response" || operation.metadata === undefined) {
    throw new Error(`expected a response with metadata, got ${operation.result.value}`);
  }
  const task = anyUnpack(operation.result.value, BatchTaskInfoSchema);
  const metadata = anyUnpack(operation.metadata, BatchTaskMetadataSchema);
  if (task === undefined || metadata === undefined) {
    throw new Error("the operation does not hold the types that operation_info names");
  }
  return [task, metadata.counts?.succeeded ?? 0n];
}

/** Prints the outputs of records that must begin at index `next`, and returns the index after them. */
function show(records: RecordInfo[], next: bigint): bigint {
  for (const record of records) {
    if (
      record.index !== next ||
      record.state !== RecordInfo_State.SUCCEEDED ||
      record.output?.kind.case !== "text"
    ) {
      throw new Error(`expected record ${next} to have succeeded, got ${record.name}`);
    }
    console.log(record.output.kind.value);
    next += 1n;
  }
  return next;
}

async function list(service: Service, parent: string): Promise<void> {
  let next = 0n;
  let pageToken = "";
  do {
    const page = await service.listRecords({ parent, pageSize, pageToken });
    next = show(page.records, next);
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
}

async function stream(service: Service, parent: string): Promise<void> {
  let next = 0n;
  const view = RecordInfo_View.FULL;
  const order = RecordInfo_Order.INDEX;
  for await (const message of service.streamRecords({ parent, pageSize, view, order })) {
    next = show(message.records, next);
  }
}

async function wrongCall(service: Service): Promise<void> {
  try {
    await service.getBatchTask({ name: `${project}/batchTasks/no-such-task` });
  } catch (reason) {
    const failure = ConnectError.from(reason);
    for (const info of failure.findDetails(ErrorInfoSchema)) {
      console.log(failure.code, info.reason, info.domain);
    }
    return;
  }
  throw new Error("a task that does not exist was found");
}

async function run(target: string): Promise<void> {
  const transport = createGrpcTransport({ baseUrl: `http://${target}`, defaultTimeoutMs: 120_000 });
  const service = createClient(BatchTaskService, transport);
  const [task, succeeded] = await submitAndWait(service, createClient(Operations, transport));
  await list(service, task.name);
  await stream(service, task.name);
  console.log(BatchTaskInfo_State[task.state], succeeded.toString());
  await wrongCall(service);
}

const target = process.argv[2];
if (target === undefined) {
  throw new Error("usage: node interop.js HOST:PORT < RECORDS");
}
await run(target);
