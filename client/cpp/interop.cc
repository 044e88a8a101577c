// Submits a batch to the handler `echo` through the generated stubs, waits for it and reads it back.
//
// Usage: interop HOST:PORT [SERVICE_CONFIG.json] < RECORDS, one JSON text per line. It prints, one per line: the
// outputs that ListRecords gave, in index order; those that StreamRecords gave; the final state and the count of
// succeeded records; code, reason and domain of the error of a call that must fail. tests/interop compares them.
#include <chrono>
#include <cstdint>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <string>

#include <google/rpc/error_details.pb.h>
#include <google/rpc/status.pb.h>
#include <grpcpp/grpcpp.h>

#include "batchyard/v1/batch_task_service.grpc.pb.h"
#include "google/longrunning/operations.grpc.pb.h"

namespace {

using batchyard::v1::BatchTaskInfo;
using batchyard::v1::BatchTaskMetadata;
using batchyard::v1::BatchTaskService;
using batchyard::v1::Payload;
using batchyard::v1::RecordInfo;
using google::longrunning::Operation;
using google::longrunning::Operations;

const std::string kProject = "projects/default";
constexpr int kPageSize = 7;  // small, so that several pages are read

// A context is good for one call.
class Context : public grpc::ClientContext {
 public:
  Context() { set_deadline(std::chrono::system_clock::now() + std::chrono::minutes(2)); }
};

void Check(const grpc::Status& status) {
  if (!status.ok()) {
    throw std::runtime_error(std::to_string(status.error_code()) + ": " + status.error_message());
  }
}

Operation SubmitAndWait(BatchTaskService::Stub& service, Operations::Stub& operations) {
  batchyard::v1::CreateBatchTaskRequest request;
  request.set_parent(kProject);
  request.mutable_batch_task()->set_handler("echo");
  (*request.mutable_batch_task()->mutable_labels())["language"] = "cpp";
  for (std::string line; std::getline(std::cin, line);) {
    request.add_records()->mutable_payload()->set_text(line);
  }
  Operation operation;
  Context create;
  Check(service.CreateBatchTask(&create, request, &operation));
  while (!operation.done()) {
    google::longrunning::WaitOperationRequest wait;
    wait.set_name(operation.name());
    wait.mutable_timeout()->set_seconds(30);
    Context context;
    Check(operations.WaitOperation(&context, wait, &operation));
  }
  return operation;
}

// Prints the outputs of records that must begin at index `next`, and returns the index after them.
template <typename Message>
std::int64_t Show(const Message& message, std::int64_t next) {
  for (const RecordInfo& record : message.records()) {
    if (!record.has_index() || record.index() != next || record.state() != RecordInfo::SUCCEEDED ||
        record.output().kind_case() != Payload::kText) {
      throw std::runtime_error("expected record " + std::to_string(next) + " to have succeeded, got " +
                               record.ShortDebugString());
    }
    std::cout << record.output().text() << '\n';
    ++next;
  }
  return next;
}

void List(BatchTaskService::Stub& service, const std::string& task) {
  batchyard::v1::ListRecordsRequest request;
  request.set_parent(task);
  request.set_page_size(kPageSize);
  std::int64_t next = 0;
  do {
    batchyard::v1::ListRecordsResponse page;
    Context context;
    Check(service.ListRecords(&context, request, &page));
    next = Show(page, next);
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
}

void Stream(BatchTaskService::Stub& service, const std::string& task) {
  batchyard::v1::StreamRecordsRequest request;
  request.set_parent(task);
  request.set_page_size(kPageSize);
  request.set_order(RecordInfo::INDEX);
  request.set_view(RecordInfo::FULL);
  Context context;
  auto messages = service.StreamRecords(&context, request);
  batchyard::v1::StreamRecordsResponse message;
  std::int64_t next = 0;
  while (messages->Read(&message)) {
    next = Show(message, next);
  }
  Check(messages->Finish());
}

void WrongCall(BatchTaskService::Stub& service) {
  batchyard::v1::GetBatchTaskRequest request;
  request.set_name(kProject + "/batchTasks/no-such-task");
  BatchTaskInfo task;
  Context context;
  const grpc::Status failure = service.GetBatchTask(&context, request, &task);
  google::rpc::Status status;
  if (failure.ok() || !status.ParseFromString(failure.error_details())) {
    throw std::runtime_error("a task that does not exist was found, or its error has no details");
  }
  for (const auto& detail : status.details()) {
    google::rpc::ErrorInfo info;
    if (detail.UnpackTo(&info)) {
      std::cout << failure.error_code() << ' ' << info.reason() << ' ' << info.domain() << '\n';
    }
  }
}

void Run(const std::string& target, const char* service_config) {
  grpc::ChannelArguments arguments;
  if (service_config != nullptr) {
    std::ifstream file(service_config);
    arguments.SetServiceConfigJSON(
        std::string(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()));
  }
  const auto channel = grpc::CreateCustomChannel(target, grpc::InsecureChannelCredentials(), arguments);
  const auto service = BatchTaskService::NewStub(channel);
  const auto operations = Operations::NewStub(channel);

  const Operation operation = SubmitAndWait(*service, *operations);
  BatchTaskInfo task;
  BatchTaskMetadata metadata;
  if (!operation.response().UnpackTo(&task) || !operation.metadata().UnpackTo(&metadata)) {
    throw std::runtime_error("expected a response with metadata, got " + operation.ShortDebugString());
  }
  List(*service, task.name());
  Stream(*service, task.name());
  std::cout << BatchTaskInfo::State_Name(task.state()) << ' ' << metadata.counts().succeeded() << '\n';
  WrongCall(*service);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::cerr << "usage: interop HOST:PORT [SERVICE_CONFIG.json] < RECORDS\n";
    return 2;
  }
  try {
    Run(argv[1], argc > 2 ? argv[2] : nullptr);
  } catch (const std::exception& failure) {
    std::cerr << failure.what() << '\n';
    return 1;
  }
  return 0;
}
