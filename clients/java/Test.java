import java.io.IOException;
import java.net.SocketTimeoutException;
import java.time.Duration;
import java.util.Arrays;
import java.util.concurrent.FutureTask;

/** Every method and every exception of Dipc, against a new server: {@code dipc 4 64 PORT 8} */
public final class Test {
    private static final Duration LIMIT = Duration.ofSeconds(20); // the longest wait of a test
    private static final Duration SHORT = Duration.ofMillis(10);
    private static int port;

    private Test() {}

    /** Prints nothing if all is well. */
    public static void main(String[] arguments) throws Exception {
        port = Integer.parseInt(arguments[0]);
        readsAndWrites();
        queue();
        jobs();
        lostJobs();
        locks();
        deadlock();
        watches();
        names();
        manyEvents();
        losses();
    }

    private interface Action {
        void run() throws Exception;
    }

    /** Expects that an action throws exactly this exception. Returns it. */
    private static <E extends Exception> E expect(Class<E> type, Action action) {
        try {
            action.run();
        } catch (Exception error) {
            if (error.getClass() == type)
                return type.cast(error);
            throw new AssertionError("another exception than " + type, error);
        }
        throw new AssertionError("no " + type);
    }

    private static void check(boolean condition) {
        if (!condition)
            throw new AssertionError();
    }

    private static Dipc connect() throws IOException {
        return Dipc.connect("127.0.0.1", port, "test", LIMIT);
    }

    private static void readsAndWrites() throws Exception {
        byte[] bytes = new byte[256], large = new byte[8192];
        for (int i = 0; i < 256; i++)
            bytes[i] = (byte) i;
        expect(IllegalArgumentException.class, () -> Dipc.connect("127.0.0.1", port, "two words", LIMIT));
        try (Dipc m = connect()) {
            Dipc.Message empty = m.read(0);
            check(empty.data.length == 0 && empty.version == 0 && empty.count == 0);
            check(m.write(0, bytes) == 1);
            Dipc.Message message = m.read(0);
            check(Arrays.equals(message.data, bytes) && message.version == 1 && message.count == 1);
            check(m.write(0, "") == 2 && m.read(0).count == 1);

            check(m.writeIf(0, bytes, 2) == 3);
            check(expect(Dipc.Conflict.class, () -> m.writeIf(0, bytes, 2)).version == 3);
            check(m.readAfter(0, 1, null).lost == 1);
            Dipc.Timeout timeout = expect(Dipc.Timeout.class, () -> m.readAfter(0, 3, SHORT));
            check(timeout.getMessage().equals("timeout v=3") && timeout.code.equals("timeout"));
            expect(Dipc.Ahead.class, () -> m.readAfter(0, 4, Dipc.FOREVER));
            expect(Dipc.Ahead.class, () -> m.readAfter(0, -1, null)); // the largest version

            m.write(0, large);
            check(Arrays.equals(m.read(0).data, large));
            Dipc.Refused size = expect(Dipc.Refused.class, () -> m.write(0, new byte[8193]));
            check(size.code.equals("size") && size.number("max") == 8192);
            check(size.getMessage().startsWith("size max=8192: message too large (8193 bytes)"));
            check(expect(Dipc.Refused.class, () -> m.read(4)).number("max") == 3);
            m.ping();
        }
    }

    private static void queue() throws Exception {
        byte[] large = new byte[8192];
        try (Dipc m = connect()) {
            check(m.put(1, "one") == 1 && m.put(1, new byte[0], Dipc.FOREVER) == 2);
            Dipc.Message one = m.take(1, null);
            check(one.text().equals("one") && one.version == 1 && one.count == 1);
            check(m.take(1, Dipc.FOREVER).data.length == 0);
            expect(Dipc.Empty.class, () -> m.take(1, Duration.ZERO));
            for (int i = 0; i < 7; i++)
                m.put(1, large, Duration.ZERO);
            expect(Dipc.Full.class, () -> m.put(1, large, SHORT));
            check(m.putDropping(1, large) == 10 && m.read(1).count == 7);
        }
    }

    private static void jobs() throws Exception {
        try (Dipc m = connect(); Dipc other = connect()) {
            long version = m.write(3, "one");
            m.put(3, "two");
            try (Dipc.Job job = m.takeJob(3, null, null); Dipc.Job second = other.takeJob(3, LIMIT, Duration.ZERO)) {
                check(job.message.text().equals("one") && job.message.version == version && job.message.box == 3);
                check(job.message.count == 2 && job.tries == 1 && !job.isLost());
                check(second.message.text().equals("two"));
                expect(Dipc.Empty.class, () -> other.takeJob(3, null, Duration.ZERO));
                check(expect(Dipc.JobLost.class, () -> other.done(3, version)).code.equals("lease"));
                expect(Dipc.JobLost.class, () -> other.back(3, version));
                check(second.done() == 1);
                expect(Dipc.JobLost.class, second::done);
            }
            expect(ArithmeticException.class, () -> {
                try (Dipc.Job job = m.takeJob(3, null, Duration.ZERO)) {
                    check(job.message.version == version && job.tries == 2);
                    throw new ArithmeticException();
                }
            });
            Dipc.Job third = other.takeJob(3, null, Duration.ZERO);
            check(third.tries == 3);
            other.back(3, version);
            third.close();
            Dipc.Job fourth = other.takeJob(3, null, Duration.ZERO);
            third.close(); // is another job of the same message
            check(fourth.tries == 4 && other.done(3, version) == 0 && m.read(3).count == 0);
            m.write(3, "first");
            try (Dipc.Job job = m.takeJob(3, null, null)) {
                m.write(3, "replaced");
                expect(Dipc.JobLost.class, job::done);
                check(job.isLost());
            }
            Dipc.Job replaced = m.takeJob(3, null, null);
            m.write(3, "new");
            replaced.close(); // a message that is gone need not be given back
            check(replaced.isLost() && other.take(3, null).text().equals("new"));
        }
    }

    /** A lost job is neither a lost lock nor a message of a watch. */
    private static void lostJobs() throws Exception {
        try (Dipc m = connect()) {
            m.watch(3);
            long version = m.put(3, "job");
            check(m.next(LIMIT).text().equals("job"));
            Dipc.Job first = m.takeJob(3, Duration.ofMillis(50), null);
            Dipc.JobLost lost = expect(Dipc.JobLost.class, m::next);
            check(lost.number("box") == 3 && lost.number("v") == version && first.isLost());
            Dipc.Job second = m.takeJob(3, null, Duration.ZERO);
            expect(Dipc.JobLost.class, first::done);
            first.close();
            check(m.read(3).count == 1 && second.tries == 2 && !second.isLost());

            check(m.reconnect() && second.isLost());
            try (Dipc.Job third = m.takeJob(3, null, LIMIT)) {
                expect(Dipc.JobLost.class, second::done);
                second.close();
                check(third.tries == 3 && third.done() == 0);
            }
        }
    }

    private static void locks() throws Exception {
        try (Dipc m = connect(); Dipc other = connect()) {
            try (Dipc.Lock lock = m.lock(2, 3)) {
                expect(Dipc.Locked.class, () -> other.lock(false, null, Duration.ZERO, 3));
                expect(Dipc.Timeout.class, () -> other.take(3, SHORT));
                expect(Dipc.Denied.class, () -> m.lock(3));
                m.write(3, "mine");
                lock.close();
                m.lock(true, null, null, 3);
                check(other.read(3).text().equals("mine"));
                expect(Dipc.Denied.class, () -> m.write(3, "x"));
            }
        }
        try (Dipc m = connect()) {
            Dipc.Lock lock = m.lock(false, Duration.ofMillis(50), null, 3);
            check(expect(Dipc.LockLost.class, m::next).number("box") == 3);
            expect(Dipc.LockLost.class, () -> m.write(3, "late"));
            expect(Dipc.LockLost.class, lock::close);
            m.write(3, "free");
            expect(IllegalArgumentException.class, m::lock);
        }
    }

    /** Two clients hold one mailbox each and lock that of the other one. One of them is refused. */
    private static void deadlock() throws Exception {
        try (Dipc m = connect(); Dipc other = connect()) {
            m.lock(1);
            other.lock(2);
            FutureTask<Boolean> task = new FutureTask<>(() -> isDeadlock(other, 1));
            new Thread(task).start();
            boolean isMine = isDeadlock(m, 2);
            m.close();
            check(isMine != task.get());
        }
    }

    private static boolean isDeadlock(Dipc m, int box) throws IOException {
        try {
            m.lock(box);
            return false;
        } catch (Dipc.Deadlock deadlock) {
            m.close();
            return true;
        }
    }

    private static void watches() throws Exception {
        try (Dipc m = connect(); Dipc other = connect()) {
            long old = m.write(2, "old");
            m.watch(2, 3);
            check(m.next(Duration.ZERO) == null && m.next(SHORT) == null);
            other.write(2, "new");
            m.put(3, "");
            Dipc.Message event = m.next();
            check(event.box == 2 && event.version == old + 1 && event.text().equals("new"));
            check(m.next(LIMIT).box == 3);
            m.unwatch(2, 3);
            other.write(2, "unseen");
            m.watchAfter(old, 2);
            event = m.next();
            check(event.version == old + 2 && event.lost == 1);
            expect(Dipc.Ahead.class, () -> m.watchAfter(1000000, 3));

            Thread.currentThread().interrupt();
            expect(java.io.InterruptedIOException.class, m::next);
            other.put(2, "missed");
            check(m.reconnect());
            m.watchAfter(old + 2, 2);
            event = m.next();
            check(event.version == old + 3 && event.lost == 0 && event.text().equals("missed"));
        }
    }

    private static void names() throws Exception {
        try (Dipc m = connect()) {
            check(expect(Dipc.Refused.class, () -> m.mailbox("jobs")).code.equals("box"));
            m.setName(3, "jobs");
            int jobs = m.mailbox("jobs");
            check(jobs == 3);
            Dipc.NameTaken taken = expect(Dipc.NameTaken.class, () -> m.setName(1, "jobs"));
            check(taken.box == 3 && taken.getMessage().equals("conflict box=3"));
            m.setName(jobs, null);
            expect(Dipc.Refused.class, () -> m.mailbox("jobs"));
            for (String wrong : new String[] {"", "Jobs", "two words", "line\nq", "-", "3"}) {
                expect(IllegalArgumentException.class, () -> m.mailbox(wrong));
                expect(IllegalArgumentException.class, () -> m.setName(3, wrong));
            }
            m.ping();
        }
    }

    /** Events that arrive while the program sends are kept, in their order, and stop neither side. */
    private static void manyEvents() throws Exception {
        byte[] large = new byte[8192];
        try (Dipc m = connect()) {
            long first = m.read(0).version, last = first;
            m.watch(0);
            for (int i = 0; i < 300; i++) {
                large[0] = (byte) i;
                m.putDropping(0, large);
            }
            while (last < first + 300) {
                Dipc.Message event = m.next(LIMIT);
                check(event.version == last + 1 + event.lost && event.data.length == large.length);
                check(event.data[0] == (byte) (event.version - first - 1));
                last = event.version;
            }
            check(m.next(Duration.ZERO) == null);
        }
    }

    private static void losses() throws Exception {
        Dipc m = Dipc.connect("127.0.0.1", port, null, Duration.ofMillis(50));
        long version = m.read(0).version;
        expect(SocketTimeoutException.class, () -> m.readAfter(0, version, Dipc.FOREVER));
        check(m.isClosed() && expect(IOException.class, m::ping).getMessage().equals("the connection is closed"));
        check(m.reconnect());
        m.ping();
        m.close();
        m.close();
        check(m.isClosed());
    }
}
