// Interop submits a batch to the handler `echo` through the generated stubs, waits for it and reads it back.
//
// Usage: interop HOST:PORT [SERVICE_CONFIG.json] < RECORDS, one JSON text per line. It prints, one per line: the
// outputs that ListRecords gave, in index order; those that StreamRecords gave; the final state and the count of
// succeeded records; code, reason and domain of the error of a call that must fail. tests/interop compares them.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"github.com/batchyard/batchyard/client/go/batchyardpb"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

const (
	project  = "projects/default"
	pageSize = 7 // small, so that several pages are read
)

func main() {
	log.SetFlags(0)
	if len(os.Args) < 2 {
		log.Fatal("usage: interop HOST:PORT [SERVICE_CONFIG.json] < RECORDS")
	}
	if err := run(os.Args[1], os.Args[2:]); err != nil {
		log.Fatal(err)
	}
}

func run(target string, serviceConfig []string) error {
	options := []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}
	for _, path := range serviceConfig {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		options = append(options, grpc.WithDefaultServiceConfig(string(text)))
	}
	connection, err := grpc.NewClient(target, options...)
	if err != nil {
		return err
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()

	service := batchyardpb.NewBatchTaskServiceClient(connection)
	task, succeeded, err := submitAndWait(ctx, service, longrunningpb.NewOperationsClient(connection))
	if err != nil {
		return err
	}
	if err := list(ctx, service, task.GetName()); err != nil {
		return err
	}
	if err := stream(ctx, service, task.GetName()); err != nil {
		return err
	}
	fmt.Println(task.GetState(), succeeded)
	return wrongCall(ctx, service)
}

// submitAndWait returns the task as it ended and, from the operation's metadata, how many records succeeded.
func submitAndWait(
	ctx context.Context, service batchyardpb.BatchTaskServiceClient, operations longrunningpb.OperationsClient,
) (*batchyardpb.BatchTaskInfo, int64, error) {
	request := &batchyardpb.CreateBatchTaskRequest{
		Parent:    project,
		BatchTask: &batchyardpb.BatchTaskInfo{Handler: "echo", Labels: map[string]string{"language": "go"}},
	}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20) // the largest record
	for lines.Scan() {
		payload := &batchyardpb.Payload{Kind: &batchyardpb.Payload_Text{Text: lines.Text()}}
		request.Records = append(request.Records, &batchyardpb.RecordInput{Payload: payload})
	}
	if err := lines.Err(); err != nil {
		return nil, 0, err
	}
	operation, err := service.CreateBatchTask(ctx, request)
	for err == nil && !operation.GetDone() {
		operation, err = operations.WaitOperation(ctx, &longrunningpb.WaitOperationRequest{
			Name: operation.GetName(), Timeout: durationpb.New(30 * time.Second),
		})
	}
	if err != nil {
		return nil, 0, err
	}
	if operation.GetError() != nil {
		return nil, 0, status.ErrorProto(operation.GetError())
	}
	var task batchyardpb.BatchTaskInfo
	var metadata batchyardpb.BatchTaskMetadata
	if err := operation.GetResponse().UnmarshalTo(&task); err != nil {
		return nil, 0, err
	}
	if err := operation.GetMetadata().UnmarshalTo(&metadata); err != nil {
		return nil, 0, err
	}
	return &task, metadata.GetCounts().GetSucceeded(), nil
}

func list(ctx context.Context, service batchyardpb.BatchTaskServiceClient, task string) error {
	request := &batchyardpb.ListRecordsRequest{Parent: task, PageSize: pageSize}
	next := int64(0)
	for {
		page, err := service.ListRecords(ctx, request)
		if err != nil {
			return err
		}
		if next, err = show(page.GetRecords(), next); err != nil || page.GetNextPageToken() == "" {
			return err
		}
		request.PageToken = page.GetNextPageToken()
	}
}

func stream(ctx context.Context, service batchyardpb.BatchTaskServiceClient, task string) error {
	messages, err := service.StreamRecords(ctx, &batchyardpb.StreamRecordsRequest{
		Parent: task, PageSize: pageSize, Order: batchyardpb.RecordInfo_INDEX, View: batchyardpb.RecordInfo_FULL,
	})
	if err != nil {
		return err
	}
	next := int64(0)
	for {
		message, err := messages.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if next, err = show(message.GetRecords(), next); err != nil {
			return err
		}
	}
}

// show prints the outputs of records that must begin at index next, and returns the index after them.
func show(records []*batchyardpb.RecordInfo, next int64) (int64, error) {
	for _, record := range records {
		if record.Index == nil || record.GetIndex() != next || record.GetState() != batchyardpb.RecordInfo_SUCCEEDED {
			return 0, fmt.Errorf("expected record %d to have succeeded, got %v", next, record)
		}
		fmt.Println(record.GetOutput().GetText())
		next++
	}
	return next, nil
}

func wrongCall(ctx context.Context, service batchyardpb.BatchTaskServiceClient) error {
	_, err := service.GetBatchTask(ctx, &batchyardpb.GetBatchTaskRequest{Name: project + "/batchTasks/no-such-task"})
	if err == nil {
		return errors.New("a task that does not exist was found")
	}
	failure := status.Convert(err)
	for _, detail := range failure.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			fmt.Println(int(failure.Code()), info.GetReason(), info.GetDomain())
		}
	}
	return nil
}
