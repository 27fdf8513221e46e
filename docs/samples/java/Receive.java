import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.errors.WakeupException;
import org.apache.kafka.common.serialization.StringDeserializer;

/**
 * Prints what customers write and what becomes of requests, each event once, until it is stopped.
 *
 * <p>Events come at least once. Each names its origin in the header {@code wa-source}, {@code partition:offset:index}, and those of one
 * origin come in order: the greatest pair (offset, index) that was handled tells a repetition. It is kept in one transaction with the
 * work itself, so that neither a crash nor a rebalance loses or doubles anything.
 */
public class Receive {
  static final ObjectMapper JSON = new ObjectMapper();
  static final String TABLE =
      """
      CREATE TABLE IF NOT EXISTS progress (
        topic TEXT, partition INTEGER, source INTEGER, at INTEGER, nth INTEGER, PRIMARY KEY (topic, partition, source))""";
  static final String ADVANCE =
      """
      INSERT INTO progress VALUES (?, ?, ?, ?, ?)
      ON CONFLICT DO UPDATE SET at = excluded.at, nth = excluded.nth WHERE (excluded.at, excluded.nth) > (at, nth)""";

  public static void main(String[] args) throws Exception {
    System.setProperty("org.slf4j.simpleLogger.defaultLogLevel", "warn");
    Map<String, String> env = System.getenv();
    String prefix = env.getOrDefault("WA_TOPIC_PREFIX", "wa.");
    Map<String, Object> settings =
        Map.of(
            "bootstrap.servers", env.getOrDefault("WA_KAFKA_BOOTSTRAP", "127.0.0.1:9092"),
            "group.id", env.getOrDefault("GROUP", "sample-java"),
            "enable.auto.commit", "false",
            "auto.offset.reset", "earliest");
    var consumer = new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer());
    Thread main = Thread.currentThread();
    Runtime.getRuntime().addShutdownHook(new Thread(() -> stop(consumer, main)));
    try (consumer; // leaves the group at once, so that another may take over
        Connection database = DriverManager.getConnection("jdbc:sqlite:" + env.getOrDefault("DATABASE", "receive.db"))) {
      database.createStatement().execute(TABLE);
      database.setAutoCommit(false);
      consumer.subscribe(List.of(prefix + "messages.received.v1", prefix + "send.events.v1"));
      while (true) {
        ConsumerRecords<String, String> records = consumer.poll(Duration.ofMillis(500));
        List<String> lines = new ArrayList<>();
        for (ConsumerRecord<String, String> record : records) {
          if (isNew(record, database)) lines.add(handle(record.topic(), JSON.readTree(record.value()), database));
        }
        database.commit(); // work and progress in one transaction, then the commit to Kafka
        lines.forEach(System.out::println);
        if (!records.isEmpty()) consumer.commitSync();
      }
    } catch (WakeupException stopped) {
      // as it was told
    }
  }

  /** Here goes your work: what it writes to the database is kept or lost together with the progress. */
  static String handle(String topic, JsonNode event, Connection database) {
    JsonNode message = event.path("message"); // Meta's own object, as it came
    Stream<JsonNode> words =
        topic.endsWith("messages.received.v1")
            ? Stream.of(event.path("event_id"), message.path("type"), message.at("/text/body"))
            : Stream.of(event.path("request_id"), event.path("event"), event.at("/decision/reason"), event.at("/error/fix"));
    return words.filter(JsonNode::isTextual).map(JsonNode::asText).collect(Collectors.joining(" "));
  }

  /** Notes the progress; false for what was handled before. */
  static boolean isNew(ConsumerRecord<String, String> record, Connection database) throws SQLException {
    byte[] header = record.headers().lastHeader("wa-source").value();
    String[] source = new String(header, StandardCharsets.US_ASCII).split(":");
    try (PreparedStatement advance = database.prepareStatement(ADVANCE)) {
      advance.setString(1, record.topic());
      advance.setInt(2, record.partition());
      for (int i = 0; i < 3; i++) advance.setLong(3 + i, Long.parseLong(source[i]));
      return advance.executeUpdate() == 1;
    }
  }

  /** Lets the batch in work end, on SIGTERM and Ctrl-C. */
  static void stop(KafkaConsumer<?, ?> consumer, Thread main) {
    consumer.wakeup();
    try {
      main.join(10_000);
    } catch (InterruptedException ignored) {
      Thread.currentThread().interrupt();
    }
  }
}
