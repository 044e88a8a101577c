package dev.batchyard.interop;

import com.google.longrunning.Operation;
import com.google.longrunning.OperationsGrpc;
import com.google.longrunning.WaitOperationRequest;
import com.google.protobuf.Any;
import com.google.protobuf.Duration;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.ErrorInfo;
import com.google.rpc.Status;
import dev.batchyard.v1.BatchTaskInfo;
import dev.batchyard.v1.BatchTaskMetadata;
import dev.batchyard.v1.BatchTaskServiceGrpc;
import dev.batchyard.v1.BatchTaskServiceGrpc.BatchTaskServiceBlockingStub;
import dev.batchyard.v1.CreateBatchTaskRequest;
import dev.batchyard.v1.GetBatchTaskRequest;
import dev.batchyard.v1.ListRecordsRequest;
import dev.batchyard.v1.ListRecordsResponse;
import dev.batchyard.v1.Payload;
import dev.batchyard.v1.RecordInfo;
import dev.batchyard.v1.RecordInput;
import dev.batchyard.v1.StreamRecordsRequest;
import dev.batchyard.v1.StreamRecordsResponse;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Iterator;
import java.util.List;
import java.util.concurrent.TimeUnit;

/**
 * Submits a batch to the handler {@code echo} through the generated stubs, waits for it and reads it back.
 *
 * <p>Usage: {@code Interop HOST:PORT < RECORDS}, one JSON text per line. It prints, one per line: the outputs that
 * ListRecords gave, in index order; those that StreamRecords gave; the final state and the count of succeeded records;
 * code, reason and domain of the error of a call that must fail. tests/interop compares them.
 */
public final class Interop {
  private static final String PROJECT = "projects/default";
  private static final int PAGE_SIZE = 7; // small, so that several pages are read
  private static final PrintStream OUT = new PrintStream(System.out, true, StandardCharsets.UTF_8);

  private final BatchTaskServiceBlockingStub service;
  private final OperationsGrpc.OperationsBlockingStub operations;

  private Interop(ManagedChannel channel) {
    service = BatchTaskServiceGrpc.newBlockingStub(channel).withDeadlineAfter(2, TimeUnit.MINUTES);
    operations = OperationsGrpc.newBlockingStub(channel).withDeadlineAfter(2, TimeUnit.MINUTES);
  }

  public static void main(String[] arguments) throws IOException {
    if (arguments.length != 1) {
      throw new IllegalArgumentException("usage: Interop HOST:PORT < RECORDS");
    }
    ManagedChannel channel =
        Grpc.newChannelBuilder(arguments[0], InsecureChannelCredentials.create()).build();
    try {
      new Interop(channel).run();
    } finally {
      channel.shutdownNow();
    }
  }

  private void run() throws IOException {
    Operation operation = submitAndWait();
    if (!operation.hasResponse()) {
      throw new IllegalStateException("expected a response, got " + operation.getError());
    }
    BatchTaskInfo task = operation.getResponse().unpack(BatchTaskInfo.class);
    BatchTaskMetadata metadata = operation.getMetadata().unpack(BatchTaskMetadata.class);
    list(task.getName());
    stream(task.getName());
    OUT.println(task.getState() + " " + metadata.getCounts().getSucceeded());
    wrongCall();
  }

  private Operation submitAndWait() throws IOException {
    CreateBatchTaskRequest.Builder request =
        CreateBatchTaskRequest.newBuilder()
            .setParent(PROJECT)
            .setBatchTask(BatchTaskInfo.newBuilder().setHandler("echo").putLabels("language", "java"));
    try (BufferedReader lines =
        new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8))) {
      for (String line = lines.readLine(); line != null; line = lines.readLine()) {
        request.addRecords(RecordInput.newBuilder().setPayload(Payload.newBuilder().setText(line)));
      }
    }
    Operation operation = service.createBatchTask(request.build());
    while (!operation.getDone()) {
      operation =
          operations.waitOperation(
              WaitOperationRequest.newBuilder()
                  .setName(operation.getName())
                  .setTimeout(Duration.newBuilder().setSeconds(30))
                  .build());
    }
    return operation;
  }

  private void list(String task) {
    ListRecordsRequest.Builder request =
        ListRecordsRequest.newBuilder().setParent(task).setPageSize(PAGE_SIZE);
    long next = 0;
    do {
      ListRecordsResponse page = service.listRecords(request.build());
      next = show(page.getRecordsList(), next);
      request.setPageToken(page.getNextPageToken());
    } while (!request.getPageToken().isEmpty());
  }

  private void stream(String task) {
    Iterator<StreamRecordsResponse> messages =
        service.streamRecords(
            StreamRecordsRequest.newBuilder()
                .setParent(task)
                .setPageSize(PAGE_SIZE)
                .setOrder(RecordInfo.Order.INDEX)
                .setView(RecordInfo.View.FULL)
                .build());
    long next = 0;
    while (messages.hasNext()) {
      next = show(messages.next().getRecordsList(), next);
    }
  }

  /** Prints the outputs of records that must begin at index {@code next}; returns the index after them. */
  private static long show(List<RecordInfo> records, long next) {
    for (RecordInfo record : records) {
      if (!record.hasIndex()
          || record.getIndex() != next
          || record.getState() != RecordInfo.State.SUCCEEDED
          || record.getOutput().getKindCase() != Payload.KindCase.TEXT) {
        throw new IllegalStateException("expected record " + next + " to have succeeded, got " + record);
      }
      OUT.println(record.getOutput().getText());
      next++;
    }
    return next;
  }

  private void wrongCall() throws InvalidProtocolBufferException {
    try {
      service.getBatchTask(
          GetBatchTaskRequest.newBuilder().setName(PROJECT + "/batchTasks/no-such-task").build());
    } catch (StatusRuntimeException failure) {
      Status status = StatusProto.fromThrowable(failure);
      for (Any detail : status.getDetailsList()) {
        if (detail.is(ErrorInfo.class)) {
          ErrorInfo info = detail.unpack(ErrorInfo.class);
          OUT.println(status.getCode() + " " + info.getReason() + " " + info.getDomain());
        }
      }
      return;
    }
    throw new IllegalStateException("a task that does not exist was found");
  }
}
