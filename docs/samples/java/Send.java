import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Asks for one template message and tells what becomes of it: {@code Send.java +4915112345678 4711-shipped order_update/de}.
 *
 * <p>Exit code 0: it goes out, or went out before. 1: it was refused, or failed; the last line says why. 2: not known yet. Then run it
 * again with the same request id: within 8 days the middleware sends it once and answers it again.
 */
public class Send {
  static final String BOOTSTRAP = System.getenv().getOrDefault("WA_KAFKA_BOOTSTRAP", "127.0.0.1:9092");
  static final String PREFIX = System.getenv().getOrDefault("WA_TOPIC_PREFIX", "wa.");
  static final double WAIT_S = Double.parseDouble(System.getenv().getOrDefault("WAIT_S", "30"));
  static final ObjectMapper JSON = new ObjectMapper();

  public static void main(String[] args) throws Exception {
    System.setProperty("org.slf4j.simpleLogger.defaultLogLevel", "warn");
    if (args.length != 3 || !args[2].contains("/")) {
      System.err.println("java Send.java TO REQUEST_ID TEMPLATE/LANGUAGE");
      System.exit(2);
    }
    String to = args[0], requestId = args[1];
    String[] template = args[2].split("/");
    // Any message object of Meta's Cloud API. Without `from` it leaves from the account's default number.
    Map<String, Object> message =
        Map.of("messaging_product", "whatsapp", "to", to, "type", "template",
            "template", Map.of("name", template[0], "language", Map.of("code", template[1])));
    String request = JSON.writeValueAsString(Map.of("request_id", requestId, "message", message));

    int code;
    try (KafkaConsumer<String, String> answers = readerAtTheEnd(PREFIX + "send.events.v1");
        // A real program keeps one producer for its whole life. Its defaults are right: acks=all, idempotent.
        KafkaProducer<String, String> producer =
            new KafkaProducer<>(Map.of("bootstrap.servers", BOOTSTRAP), new StringSerializer(), new StringSerializer())) {
      // Any key and partitioner will do; the recipient as key keeps the requests to one person in order.
      producer.send(new ProducerRecord<>(PREFIX + "send.requests.v1", to, request)).get();
      code = follow(answers, requestId);
    } catch (KafkaException | java.util.concurrent.ExecutionException error) {
      System.err.println(requestId + " not known yet, repeat it: " + error.getMessage());
      code = 2;
    }
    System.exit(code);
  }

  /** A reader of what comes from now on. It joins no group: every copy of this program reads all answers. */
  static KafkaConsumer<String, String> readerAtTheEnd(String topic) {
    KafkaConsumer<String, String> reader =
        new KafkaConsumer<>(Map.of("bootstrap.servers", BOOTSTRAP), new StringDeserializer(), new StringDeserializer());
    List<TopicPartition> places =
        reader.partitionsFor(topic).stream().map(p -> new TopicPartition(topic, p.partition())).toList();
    reader.assign(places);
    reader.seekToEnd(places);
    places.forEach(reader::position); // asks now: seeking alone would ask only at the first poll
    return reader;
  }

  /** Prints the events of the request until its outcome is known; the exit code. */
  static int follow(KafkaConsumer<String, String> answers, String requestId) throws Exception {
    int known = 2;
    long untilNs = System.nanoTime() + (long) (WAIT_S * 1e9);
    while (System.nanoTime() < untilNs) {
      for (var record : answers.poll(Duration.ofMillis(100))) {
        JsonNode event = JSON.readTree(record.value());
        if (!event.path("request_id").asText().equals(requestId)) continue;
        JsonNode decision = event.path("decision"), error = event.path("error");
        String step = event.path("event").asText(), outcome = decision.path("outcome").asText();
        System.out.println(
            Stream.of(event.path("request_id"), event.path("event"), decision.path("outcome"),
                    (decision.isObject() ? decision : error).path("reason"), error.path("message"), error.path("fix"), event.path("wamid"))
                .filter(JsonNode::isTextual)
                .map(JsonNode::asText)
                .collect(Collectors.joining(" ")));
        if (List.of("failed", "cancelled").contains(step) || outcome.equals("reject")) return 1;
        if (List.of("accepted", "sent", "delivered", "read").contains(step)) return 0;
        if (outcome.equals("allow")) known = 0; // a request that is repeated is told its decision again, and nothing more
      }
    }
    return known;
  }
}
