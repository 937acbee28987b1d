// What a test of a till expects, and asks of a sandbox.
#pragma once

#include <google/protobuf/util/time_util.h>
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>

#include "till.h"
#include "tillmesh/api/sandbox/v1/sandbox_service.grpc.pb.h"

struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

inline void expect(bool is_so, const std::string& what) {
  if (!is_so) throw Failure("expected " + what);
}

inline void expect(const till::Checkout& checkout, till::terminal::Verdict verdict,
                   const std::string& reason = "") {
  expect(checkout.verdict() == verdict && checkout.verdict_reason() == reason,
         till::terminal::Verdict_Name(verdict) + " " + reason + ", got " +
             till::terminal::Verdict_Name(checkout.verdict()) + " " + checkout.verdict_reason());
}

// Does something that must be refused, for a reason, or for any if that is empty.
template <class Deed>
void expect_refusal(const std::string& reason, const Deed& deed) {
  try {
    deed();
  } catch (const till::Refusal& refusal) {
    expect(reason.empty() || refusal.reason == reason,
           "the refusal " + reason + ", got " + refusal.reason + ": " + refusal.what());
    return;
  }
  throw Failure("expected the refusal " + reason + ", got an answer");
}

class Sandbox {
  using SandboxService = tillmesh::api::sandbox::v1::SandboxService;

 public:
  explicit Sandbox(const std::string& address)
      : stub_(SandboxService::NewStub(grpc::CreateChannel(address, grpc::InsecureChannelCredentials()))) {}

  std::string pay_code(const std::string& identity_id) {
    tillmesh::api::sandbox::v1::ShowPayCodeRequest request;
    request.set_identity_id(identity_id);
    tillmesh::api::sandbox::v1::ShowPayCodeResponse answer;
    grpc::ClientContext context;
    answered(context, [&] { return stub_->ShowPayCode(&context, request, &answer); });
    return answer.pay_code();
  }

  void move_clock(int64_t seconds) {
    tillmesh::api::sandbox::v1::MoveClockRequest request;
    *request.mutable_by() = google::protobuf::util::TimeUtil::SecondsToDuration(seconds);
    tillmesh::api::sandbox::v1::MoveClockResponse answer;
    grpc::ClientContext context;
    answered(context, [&] { return stub_->MoveClock(&context, request, &answer); });
  }

 private:
  template <class Call>
  static void answered(grpc::ClientContext& context, const Call& call) {
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    const grpc::Status status = call();
    expect(status.ok(), "an answer of the sandbox, got " + status.error_message());
  }

  std::unique_ptr<SandboxService::Stub> stub_;
};
