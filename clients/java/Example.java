import java.io.IOException;
import java.time.Duration;

/**
 * The verbs of Dipc, each once, with a server on this machine: {@code dipc 4 64 PORT 8}
 *
 * <pre>
 * javac Dipc.java Example.java
 * java Example PORT
 * </pre>
 */
public final class Example {
    private Example() {}

    /** Runs the example. */
    public static void main(String[] arguments) throws IOException {
        if (arguments.length != 1) {
            System.err.println("usage: java Example PORT");
            System.exit(2);
        }
        int port = Integer.parseInt(arguments[0]);
        Duration timeout = Duration.ofSeconds(60), seconds = Duration.ofSeconds(5);
        try (Dipc m = Dipc.connect("127.0.0.1", port, "example", timeout)) {
            // Mailbox 3 as a variable.
            m.write(3, "hello");
            print("read", m.read(3));

            // Add one, unless another client is faster: read, decide, writeIf, and start over after a conflict.
            while (!addOne(m, 2))
                System.out.println("conflict: once more");
            print("counter", m.read(2));

            // Mailbox 1 as a queue: each message goes to one taker.
            m.put(1, "a job");
            print("take", m.take(1, seconds));
            try {
                m.take(1, Duration.ZERO);
            } catch (Dipc.Empty empty) {
                System.out.println("take: " + empty.getMessage());
            }

            // Two mailboxes that no other client uses until the lock is closed.
            try (Dipc.Lock lock = m.lock(1, 3)) {
                m.write(3, "locked with grant " + lock.grant);
            }

            // All messages of mailbox 0 from now on, also those of this client.
            m.watch(0);
            m.write(0, "it rains");
            print("event", m.next(seconds));
        }
    }

    /** Adds one to the number in a mailbox. Returns false if another client has written meanwhile. */
    private static boolean addOne(Dipc m, int box) throws IOException {
        Dipc.Message message = m.read(box);
        int number = message.count == 0 ? 0 : Integer.parseInt(message.text());
        try {
            m.writeIf(box, Integer.toString(number + 1).getBytes(), message.version);
            return true;
        } catch (Dipc.Conflict conflict) {
            return false;
        }
    }

    private static void print(String verb, Dipc.Message message) {
        System.out.println(verb + " version " + message.version + ": " + message.text());
    }
}
