// Reads a checkout at a store terminal: its verdict, or why the terminal refused.
//   get_checkout ADDRESS CERTIFICATES CHECKOUT_ID
// CERTIFICATES is a folder with ca.pem, cert.pem and key.pem. The exit status is 0 with a verdict, 1 with a refusal.
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "tillmesh/api/terminal/v1/checkout_service.grpc.pb.h"

namespace terminal = tillmesh::api::terminal::v1;

std::string read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::shared_ptr<grpc::Channel> connect(const std::string& address, const std::string& folder) {
  grpc::SslCredentialsOptions own{read(folder + "/ca.pem"), read(folder + "/key.pem"), read(folder + "/cert.pem")};
  grpc::ChannelArguments arguments;
  arguments.SetSslTargetNameOverride("terminal.tillmesh");  // a server is known by its role, wherever it listens
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);             // who repeats a call should know that it does
  return grpc::CreateCustomChannel(address, grpc::SslCredentials(own), arguments);
}

// The details are in the trailing metadata grpc-status-details-bin, which gRPC for C++ hands out as it is.
void explain(const grpc::Status& status) {
  google::rpc::Status details;
  details.ParseFromString(status.error_details());
  for (const auto& detail : details.details()) {
    google::rpc::ErrorInfo info;
    google::rpc::BadRequest bad;
    google::rpc::RetryInfo retry;
    if (detail.UnpackTo(&info)) {
      std::cout << "refused: " << info.reason() << " by " << info.domain() << "\n";
      for (const auto& [name, value] : info.metadata()) std::cout << name << ": " << value << "\n";
    } else if (detail.UnpackTo(&bad)) {
      for (const auto& field : bad.field_violations())
        std::cout << "field " << field.field() << " " << field.description() << "\n";
    } else if (detail.UnpackTo(&retry)) {
      std::cout << "repeat after " << retry.retry_delay().seconds() << " s\n";
    }
  }
  if (details.details().empty()) std::cout << "not answered: " << status.error_message() << "\n";
}

int main(int argc, char** argv) {
  if (argc != 4) {
    std::cerr << "get_checkout ADDRESS CERTIFICATES CHECKOUT_ID\n";
    return 2;
  }
  auto stub = terminal::CheckoutService::NewStub(connect(argv[1], argv[2]));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));  // every call needs one
  terminal::GetCheckoutRequest request;
  request.set_checkout_id(argv[3]);
  terminal::Checkout checkout;
  grpc::Status status = stub->GetCheckout(&context, request, &checkout);
  if (!status.ok()) {
    explain(status);
    return 1;
  }
  std::cout << terminal::Verdict_Name(checkout.verdict()) << ", " << checkout.amount().minor_units() << " "
            << checkout.amount().currency_code() << " in minor units\n";
  return 0;
}
