import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import com.google.rpc.Status;
import io.grpc.ManagedChannel;
import io.grpc.StatusRuntimeException;
import io.grpc.netty.GrpcSslContexts;
import io.grpc.netty.NettyChannelBuilder;
import io.grpc.protobuf.StatusProto;
import java.io.File;
import java.util.concurrent.TimeUnit;
import tillmesh.api.terminal.v1.Checkout;
import tillmesh.api.terminal.v1.CheckoutServiceGrpc;
import tillmesh.api.terminal.v1.GetCheckoutRequest;

/**
 * Reads a checkout at a store terminal: its verdict, or why the terminal refused. Arguments: ADDRESS CERTIFICATES
 * CHECKOUT_ID. CERTIFICATES is a folder with ca.pem, cert.pem and key.pem. The exit status is 0 with a verdict, 1 with a
 * refusal.
 */
public final class GetCheckout {
  private GetCheckout() {}

  private static ManagedChannel connect(String address, String folder) throws Exception {
    return NettyChannelBuilder.forTarget(address)
        .sslContext(
            GrpcSslContexts.forClient()
                .trustManager(new File(folder, "ca.pem"))
                .keyManager(new File(folder, "cert.pem"), new File(folder, "key.pem"))
                .build())
        .overrideAuthority("terminal.tillmesh") // a server is known by its role, wherever it listens
        .disableRetry() // who repeats a call should know that it does
        .build();
  }

  /** The details are in the trailing metadata grpc-status-details-bin, which StatusProto reads. */
  private static void explain(StatusRuntimeException error) throws InvalidProtocolBufferException {
    Status status = StatusProto.fromThrowable(error);
    if (status == null || status.getDetailsCount() == 0) {
      System.out.println("not answered: " + error.getMessage());
      return;
    }
    for (Any detail : status.getDetailsList()) {
      if (detail.is(ErrorInfo.class)) {
        ErrorInfo info = detail.unpack(ErrorInfo.class);
        System.out.println("refused: " + info.getReason() + " by " + info.getDomain());
        info.getMetadataMap().forEach((name, value) -> System.out.println(name + ": " + value));
      } else if (detail.is(BadRequest.class)) {
        for (BadRequest.FieldViolation field : detail.unpack(BadRequest.class).getFieldViolationsList()) {
          System.out.println("field " + field.getField() + " " + field.getDescription());
        }
      } else if (detail.is(RetryInfo.class)) {
        System.out.println("repeat after " + detail.unpack(RetryInfo.class).getRetryDelay().getSeconds() + " s");
      }
    }
  }

  public static void main(String[] arguments) throws Exception {
    ManagedChannel channel = connect(arguments[0], arguments[1]);
    int exit = 0;
    try {
      Checkout checkout =
          CheckoutServiceGrpc.newBlockingStub(channel)
              .withDeadlineAfter(10, TimeUnit.SECONDS) // every call needs one
              .getCheckout(GetCheckoutRequest.newBuilder().setCheckoutId(arguments[2]).build());
      System.out.println(
          checkout.getVerdict()
              + ", "
              + checkout.getAmount().getMinorUnits()
              + " "
              + checkout.getAmount().getCurrencyCode()
              + " in minor units");
    } catch (StatusRuntimeException error) {
      explain(error);
      exit = 1;
    } finally {
      channel.shutdownNow();
    }
    System.exit(exit);
  }
}
