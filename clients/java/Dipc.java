import java.io.IOException;
import java.io.InterruptedIOException;
import java.net.InetSocketAddress;
import java.net.SocketTimeoutException;
import java.net.StandardSocketOptions;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.temporal.ChronoUnit;
import java.util.ArrayDeque;
import java.util.Arrays;
import java.util.Deque;
import java.util.HashMap;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;

/**
 * A client of dipc, the server of shared-memory mailboxes. Needs only Java 11.
 *
 * <pre>
 * try (Dipc m = Dipc.connect("127.0.0.1", 5000)) {
 *     long version = m.write(3, "any text, or bytes");
 *     System.out.println(m.read(3).text());
 *     m.put(3, "one more");                       // appends to the queue
 *     m.take(3, Duration.ofSeconds(5));           // removes the oldest; throws Empty after 5 seconds
 *     try (Dipc.Job job = m.takeJob(3, null, null)) { // gives the message back, unless it is done
 *         System.out.println(job.message.text());
 *         job.done();
 *     }
 *     try (Dipc.Lock lock = m.lock(3, 4)) {       // excludes other clients
 *         m.write(4, m.read(3).data);
 *     }
 *     m.watch(3);
 *     for (;;)
 *         System.out.println(m.next().text());    // all new messages, forever
 * }
 * </pre>
 *
 * Every method throws {@link NotDone} or {@link Refused} if the server answers NO or ERR, and another IOException
 * if the connection is lost, the server does not speak dipc, or the server was silent for too long. After such an
 * IOException the connection is closed, and whether the request was executed is unknown. No request is sent twice.
 *
 * <p>A connection must be used by one thread at a time. An interrupt of a thread that waits for an answer closes
 * the connection. Versions and grants are unsigned.
 */
public final class Dipc implements AutoCloseable {
    /** A wait without end. */
    public static final Duration FOREVER = ChronoUnit.FOREVER.getDuration();

    private static final Pattern ANSWER = Pattern.compile(
            "(OK|(?:DATA|EVENT) \\d{1,10}|NO [a-z]+|ERR [a-z]+)((?: [\\w-]+=\\S*)*)(?: : ?(.*))?");
    private static final Pattern MAILBOX = Pattern.compile("mailbox (\\d{1,9})\\n");
    private static final int LONGEST_LINE = 65536; // bytes; no first line of an answer is longer
    private static final long KEPT = 64 << 20; // bytes of events that are kept for next()
    private static final String LARGEST = Long.toUnsignedString(-1);
    private static final Set<String> CLOSING = Set.of("frame", "auth", "busy", "drain", "internal");

    /** A negative answer. */
    public static class DipcException extends IOException {
        private static final long serialVersionUID = 1;
        /** The reason in one word. */
        public final String code;
        private final HashMap<String, String> fields;

        DipcException(Answer answer) {
            super(answer.description());
            code = answer.word;
            fields = answer.fields;
        }

        DipcException(DipcException same) {
            super(same.getMessage());
            code = same.code;
            fields = same.fields;
        }

        /** The number of a field, such as {@code max}; 0 without this field. */
        public long number(String key) {
            return numberOf(fields, key);
        }
    }

    /** NO: the request is valid, but the state of the mailbox did not permit it. Nothing has changed. */
    public static class NotDone extends DipcException {
        private static final long serialVersionUID = 1;
        NotDone(Answer answer) { super(answer); }
    }

    /** The mailbox was not free in time, or there was no newer message in time. */
    public static final class Timeout extends NotDone {
        private static final long serialVersionUID = 1;
        Timeout(Answer answer) { super(answer); }
    }

    /** The mailbox is not at the expected version. */
    public static final class Conflict extends NotDone {
        private static final long serialVersionUID = 1;
        /** The version of the mailbox. */
        public final long version = number("v");
        Conflict(Answer answer) { super(answer); }
    }

    /** Another mailbox has this name. */
    public static final class NameTaken extends NotDone {
        private static final long serialVersionUID = 1;
        /** The mailbox that has the name. */
        public final int box = (int) number("box");
        NameTaken(Answer answer) { super(answer); }
    }

    /** There was no message to take, and none arrived in time. */
    public static final class Empty extends NotDone {
        private static final long serialVersionUID = 1;
        Empty(Answer answer) { super(answer); }
    }

    /** There was no room for the message, and none became free in time. */
    public static final class Full extends NotDone {
        private static final long serialVersionUID = 1;
        Full(Answer answer) { super(answer); }
    }

    /** Another client has locked the mailbox or waits to lock it, and the wait was zero. */
    public static final class Locked extends NotDone {
        private static final long serialVersionUID = 1;
        Locked(Answer answer) { super(answer); }
    }

    /** A version is that of earlier mailboxes, which no longer exist. Continue with version 0, and tell the user. */
    public static final class Ahead extends NotDone {
        private static final long serialVersionUID = 1;
        Ahead(Answer answer) { super(answer); }
    }

    /** ERR: the request is invalid, or impossible now. {@code number("max")} is the limit, if one was exceeded. */
    public static class Refused extends DipcException {
        private static final long serialVersionUID = 1;
        Refused(Answer answer) { super(answer); }
        Refused(Refused same) { super(same); }
    }

    /** The lease has expired, and other clients may have used the mailbox; or the lock was never held. */
    public static final class LockLost extends Refused {
        private static final long serialVersionUID = 1;
        LockLost(Answer answer) { super(answer); }
    }

    /** This connection does not have the message in hand, or has it no longer. Another worker may have it. */
    public static final class JobLost extends Refused {
        private static final long serialVersionUID = 1;
        JobLost(Answer answer) { super(answer); }
        JobLost(LockLost same) { super(same); } // ERR lease, but of a message
    }

    /** The request would complete a cycle of waits. The locks are still held: unlock them, and retry. */
    public static final class Deadlock extends Refused {
        private static final long serialVersionUID = 1;
        Deadlock(Answer answer) { super(answer); }
    }

    /** The client's own lock does not permit the request. */
    public static final class Denied extends Refused {
        private static final long serialVersionUID = 1;
        Denied(Answer answer) { super(answer); }
    }

    /** A message that was read, taken or watched. */
    public static final class Message {
        /** The mailbox. */
        public final int box;
        /** Any bytes. */
        public final byte[] data;
        /** The version of the message, or of an empty mailbox. */
        public final long version;
        /** The number of messages in the mailbox. After a read, 0 means that it is empty. Events have no number: 0. */
        public final long count;
        /** The number of messages that were lost between the requested version and this message. */
        public final long lost;

        Message(int box, Answer answer) {
            this.box = box;
            data = answer.data;
            version = answer.number("v");
            count = answer.number("n");
            lost = answer.number("lost");
        }

        /** The data as UTF-8. */
        public String text() {
            return new String(data, StandardCharsets.UTF_8);
        }
    }

    /**
     * A message in hand. {@link #done} removes it. If it is not done, it is given back by {@link #close}, at the end of
     * the connection, and when the connection has sent no request for the ttl. A ping is such a request.
     */
    public final class Job implements AutoCloseable {
        /** The message. Its count includes the messages in hand. */
        public final Message message;
        /** How often the message was handed out. Above 1, an earlier worker may have worked on it. */
        public final long tries;
        private boolean isInHand = true;
        private boolean isLost;

        Job(Message message, long tries) {
            this.message = message;
            this.tries = tries;
        }

        /** Whether the message was given back by the server, as far as the received answers and events tell. */
        public boolean isLost() {
            return isLost;
        }

        /**
         * Removes the message. Returns the number of messages in the mailbox. Throws JobLost if the message is not in
         * hand any more, and Timeout if the mailbox was not free in time; the message is still in hand then.
         */
        public long done() throws IOException {
            if (!isInHand) { // the connection may have taken the message again, as another job
                String text = "this message was given back, or is done";
                throw new JobLost(new Answer("ERR", "lease", "", text, new byte[0]));
            }
            return Dipc.this.done(message.box, message.version);
        }

        /** Gives the message back. Does nothing if it is not in hand any more. */
        @Override
        public void close() throws IOException {
            if (isInHand) {
                try {
                    back(message.box, message.version);
                } catch (JobLost lost) {
                    // It was given back already.
                }
            }
        }

        private void end(boolean isLost) {
            isInHand = false;
            this.isLost = isLost;
        }
    }

    /** Locked mailboxes. They are unlocked by {@link #close}, and at the end of the connection. */
    public final class Lock implements AutoCloseable {
        /** The number of this lock. Later locks have higher numbers. */
        public final long grant;
        private final String boxes;
        private boolean isHeld = true;

        Lock(String boxes, long grant) {
            this.boxes = boxes;
            this.grant = grant;
        }

        /** Unlocks the mailboxes, unless they are unlocked already. Throws LockLost if the lease has expired. */
        @Override
        public void close() throws IOException {
            if (isHeld) {
                isHeld = false;
                ask("OK", "unlock " + boxes + " grant=" + Long.toUnsignedString(grant), null);
            }
        }
    }

    private final InetSocketAddress address;
    private final String name;
    private final long timeoutMs; // 0: none
    private SocketChannel channel;
    private Selector selector;
    private SelectionKey key;
    private String greeting = ""; // is sent before the first request
    private String life = "";
    private byte[] in = new byte[LONGEST_LINE]; // the received bytes are in[begin..end)
    private int begin, end;
    private final Deque<Answer> events = new ArrayDeque<>();
    private final Map<String, Job> jobs = new HashMap<>(); // in hand, by mailbox and version
    private long eventBytes;

    private Dipc(InetSocketAddress address, String name, Duration timeout) throws IOException {
        if (name != null && !name.matches("[!-~]{1,64}"))
            throw new IllegalArgumentException("the name is not one word of printable ASCII");
        this.address = address;
        this.name = name;
        timeoutMs = timeout == null ? 0 : Math.max(1, timeout.toMillis());
        open();
    }

    /** Connects to a server. */
    public static Dipc connect(String host, int port) throws IOException {
        return connect(host, port, null, null);
    }

    /**
     * Connects to a server.
     *
     * @param name the name of this connection in {@code stat}, or null
     * @param timeout the longest silence of the server, while connecting and during a request. It has to exceed
     *     every wait. Null: no limit.
     */
    public static Dipc connect(String host, int port, String name, Duration timeout) throws IOException {
        return new Dipc(new InetSocketAddress(host, port), name, timeout);
    }

    /**
     * Closes the connection, unless it is closed already, and connects again. Locks and watches have ended, and
     * messages in hand were given back: their jobs are lost. To continue a watch, call {@link #watchAfter} with the
     * version of its last message.
     *
     * @return whether the server has the same mailboxes as before. If not, continue with version 0, and tell the
     *     user.
     */
    public boolean reconnect() throws IOException {
        String known = life;
        closeSocket();
        open();
        ping();
        return known.isEmpty() || known.equals(life);
    }

    /** Closes the connection. Locks end, and messages in hand are given back. */
    @Override
    public void close() {
        if (channel.isOpen()) {
            try {
                channel.write(ByteBuffer.wrap("q\n".getBytes(StandardCharsets.US_ASCII)));
            } catch (IOException lost) {
                // The close ends the connection as well.
            }
            closeSocket();
        }
    }

    /** Whether the connection is closed, by close() or by an error. */
    public boolean isClosed() {
        return !channel.isOpen();
    }

    /** Checks that the server answers. */
    public void ping() throws IOException {
        ask("OK", "ping", null);
    }

    /** Returns the newest message. */
    public Message read(int box) throws IOException {
        return new Message(box, ask("DATA v n", "r " + box, null));
    }

    /** Returns the oldest message newer than {@code after}. Waits for it; a null wait is the server's default. */
    public Message readAfter(int box, long after, Duration wait) throws IOException {
        String line = "r " + box + " after=" + Long.toUnsignedString(after) + seconds("wait", wait);
        return new Message(box, ask("DATA v n", line, null));
    }

    /** Replaces the contents of the mailbox. Returns the new version. */
    public long write(int box, byte[] data) throws IOException {
        return ask("OK v", "w " + box + " " + data.length, data).number("v");
    }

    /** Replaces the contents of the mailbox by a text in UTF-8. Returns the new version. */
    public long write(int box, String text) throws IOException {
        return write(box, text.getBytes(StandardCharsets.UTF_8));
    }

    /** Writes only if the mailbox is at this version, otherwise throws Conflict. Returns the new version. */
    public long writeIf(int box, byte[] data, long version) throws IOException {
        return ask("OK v", "w " + box + " " + data.length + " if=" + Long.toUnsignedString(version), data).number("v");
    }

    /** Appends a message. Waits for room; a null wait is the server's default. Returns the new version. */
    public long put(int box, byte[] data, Duration wait) throws IOException {
        return ask("OK v n", "put " + box + " " + data.length + seconds("wait", wait), data).number("v");
    }

    /** Appends a text in UTF-8. Returns the new version. */
    public long put(int box, String text) throws IOException {
        return put(box, text.getBytes(StandardCharsets.UTF_8), null);
    }

    /** Appends a message, and drops the oldest ones to make room. Returns the new version. */
    public long putDropping(int box, byte[] data) throws IOException {
        return ask("OK v n", "put " + box + " " + data.length + " full=drop", data).number("v");
    }

    /** Removes the oldest message and returns it. Waits for a message; a null wait is the server's default. */
    public Message take(int box, Duration wait) throws IOException {
        return new Message(box, ask("DATA v n", "take " + box + seconds("wait", wait), null));
    }

    /**
     * Hands out the oldest message that is not in hand: it stays in the mailbox, and no other take gets it. Waits for
     * a message.
     *
     * @param ttl the message is given back after this time without a request on this connection; null: the server's
     *     default
     * @param wait null: the server's default
     */
    public Job takeJob(int box, Duration ttl, Duration wait) throws IOException {
        // A key without a value means the server's default. Without the key the message would be removed.
        String line = "take " + box + (ttl == null ? " ttl=" : seconds("ttl", ttl)) + seconds("wait", wait);
        Answer answer = ask("DATA v n tries", line, null);
        Job job = new Job(new Message(box, answer), answer.number("tries"));
        jobs.put(jobKey(box, job.message.version), job);
        return job;
    }

    /**
     * Removes a message that this connection has in hand. Returns the number of messages in the mailbox. Throws
     * JobLost if the message is not in hand: it was given back, or a write or put has removed it.
     */
    public long done(int box, long version) throws IOException {
        return endJob("OK n", "done ", box, version).number("n");
    }

    /** Gives back a message that this connection has in hand, in its old place. Throws what {@link #done} throws. */
    public void back(int box, long version) throws IOException {
        endJob("OK", "back ", box, version);
    }

    private Answer endJob(String shape, String verb, int box, long version) throws IOException {
        try {
            Answer answer = ask(shape, verb + box + " v=" + Long.toUnsignedString(version), null);
            forgetJob(box, version, false);
            return answer;
        } catch (LockLost lost) {
            forgetJob(box, version, true);
            throw new JobLost(lost);
        }
    }

    private void forgetJob(int box, long version, boolean isLost) {
        Job job = jobs.remove(jobKey(box, version));
        if (job != null)
            job.end(isLost);
    }

    private static String jobKey(int box, long version) {
        return box + " " + version;
    }

    /**
     * Returns the number of the mailbox that has this name now. If the name moves to another mailbox later, locks,
     * watches and messages in hand stay where they are. Throws Refused with the code {@code box} if no mailbox
     * has the name.
     */
    public int mailbox(String name) throws IOException {
        String text = new String(ask("DATA", "stat box " + requireName(name), null).data, StandardCharsets.US_ASCII);
        Matcher line = MAILBOX.matcher(text);
        if (line.lookingAt())
            return Integer.parseInt(line.group(1));
        closeSocket();
        throw new IOException("the server answered statistics without the number of the mailbox");
    }

    /**
     * Gives the mailbox a name: 1 to 64 of {@code a-z 0-9 _ . -}, beginning with a letter. Null removes its name.
     * Throws NameTaken if another mailbox has the name.
     */
    public void setName(int box, String name) throws IOException {
        ask("OK", "name " + box + " " + (name == null ? "-" : requireName(name)), null);
    }

    private static String requireName(String name) {
        if (!name.matches("[a-z][a-z0-9_.-]{0,63}"))
            throw new IllegalArgumentException("\"" + name + "\" cannot be the name of a mailbox");
        return name;
    }

    /** Locks all these mailboxes, or none. Excludes other clients until the lock is closed. */
    public Lock lock(int... boxes) throws IOException {
        return lock(false, null, null, boxes);
    }

    /**
     * Locks all these mailboxes, or none.
     *
     * @param shared excludes only the writes of other clients
     * @param ttl the lock expires after this time without a request on this connection; null: the server's default
     * @param wait null: the server's default
     */
    public Lock lock(boolean shared, Duration ttl, Duration wait, int... boxes) throws IOException {
        String list = list(boxes);
        String line = "lock " + list + (shared ? " r" : "") + seconds("ttl", ttl) + seconds("wait", wait);
        return new Lock(list, ask("OK grant", line, null).number("grant"));
    }

    /** Starts to watch these mailboxes: {@link #next} returns each message from now on. */
    public void watch(int... boxes) throws IOException {
        ask("OK", "watch " + list(boxes), null);
    }

    /** Starts to watch these mailboxes after a version, with the stored messages. */
    public void watchAfter(long after, int... boxes) throws IOException {
        ask("OK", "watch " + list(boxes) + " after=" + Long.toUnsignedString(after), null);
    }

    /** Stops watching these mailboxes. */
    public void unwatch(int... boxes) throws IOException {
        ask("OK", "unwatch " + list(boxes), null);
    }

    /** Waits for the next message of a watched mailbox. */
    public Message next() throws IOException {
        return next(FOREVER);
    }

    /**
     * Returns the next message of a watched mailbox, or null if none arrives in time. Throws LockLost if a lock has
     * expired, and JobLost if a message in hand was given back; {@code number("box")} is the mailbox, and
     * {@code number("v")} the version of that message. The connection stays usable after these exceptions, and after
     * the InterruptedIOException of an interrupt.
     */
    public Message next(Duration wait) throws IOException {
        requireOpen();
        long deadline = deadline(toMillis(wait));
        try {
            while (!hasEvent()) {
                if (select(SelectionKey.OP_READ, deadline) == 0)
                    return null;
                receive();
            }
        } catch (InterruptedIOException interrupt) {
            throw interrupt; // nothing was received
        } catch (IOException error) {
            closeSocket();
            throw error;
        }
        Answer event = events.remove();
        eventBytes -= event.data.length;
        if ("lock".equals(event.fields.get("lost")))
            throw new LockLost(event);
        if (event.isLostJob())
            throw new JobLost(event);
        return new Message((int) event.number("box"), event);
    }

    private boolean hasEvent() throws IOException {
        Answer answer = events.isEmpty() ? parse() : null;
        if (answer != null)
            throw answer.isNegative() ? answer.exception() : new IOException("an answer without a request");
        return !events.isEmpty();
    }

    private void open() throws IOException {
        channel = SocketChannel.open();
        selector = Selector.open();
        try {
            channel.socket().connect(address, (int) Math.min(timeoutMs, Integer.MAX_VALUE));
            channel.setOption(StandardSocketOptions.TCP_NODELAY, true);
            channel.configureBlocking(false);
            key = channel.register(selector, 0);
        } catch (IOException error) {
            closeSocket();
            throw error;
        }
        begin = end = 0;
        events.clear();
        eventBytes = 0;
        greeting = "hello" + (name == null ? "" : " name=" + name) + "\n";
    }

    private void closeSocket() {
        try {
            jobs.values().forEach(job -> job.end(true));
            jobs.clear();
            channel.close();
            selector.close();
        } catch (IOException error) {
            // Nothing of the connection is used any more.
        }
    }

    private void requireOpen() throws IOException {
        if (isClosed())
            throw new IOException("the connection is closed");
    }

    /** Sends a request and returns its answer. {@code shape} is the kind of the answer and its numeric fields. */
    private Answer ask(String shape, String line, byte[] data) throws IOException {
        requireOpen();
        Answer answer;
        try {
            byte[] head = (greeting + line + "\n").getBytes(StandardCharsets.US_ASCII);
            ByteBuffer out = ByteBuffer.allocate(head.length + (data == null ? 0 : data.length + 1)).put(head);
            if (data != null)
                out.put(data).put((byte) '\n');
            out.flip();
            if (!greeting.isEmpty()) {
                answer = exchange(out);
                if (!answer.hasShape("OK"))
                    throw answer.exception();
                greeting = "";
                life = answer.fields.getOrDefault("life", "");
            }
            answer = exchange(out);
            if (!answer.isNegative() && !answer.hasShape(shape))
                throw new IOException("the server answered another request");
        } catch (IOException | RuntimeException error) {
            closeSocket();
            throw error;
        }
        if (answer.closes())
            closeSocket();
        if (answer.isNegative())
            throw answer.exception();
        return answer;
    }

    /**
     * Sends these bytes and receives the next answer. Both at once: while an event waits for this client, the
     * server reads no request.
     */
    private Answer exchange(ByteBuffer out) throws IOException {
        Answer answer = parse();
        long deadline = deadline(timeoutMs == 0 ? Long.MAX_VALUE : timeoutMs);
        while (answer == null || out.hasRemaining() && !answer.closes()) {
            int ready = select(SelectionKey.OP_READ | (out.hasRemaining() ? SelectionKey.OP_WRITE : 0), deadline);
            if (ready == 0)
                throw new SocketTimeoutException("the server was silent for too long; the connection is closed");
            deadline = deadline(timeoutMs == 0 ? Long.MAX_VALUE : timeoutMs);
            if ((ready & SelectionKey.OP_WRITE) != 0)
                send(out);
            if ((ready & SelectionKey.OP_READ) != 0)
                receive();
            if (answer == null)
                answer = parse();
        }
        return answer;
    }

    /** Waits until the socket is ready for these operations. Returns 0 at the deadline. */
    private int select(int operations, long deadline) throws IOException {
        key.interestOps(operations);
        for (;;) {
            long left = deadline == Long.MAX_VALUE ? deadline : (deadline - System.nanoTime()) / 1000000;
            selector.selectedKeys().clear();
            if ((left > 0 ? selector.select(left) : selector.selectNow()) > 0)
                return key.readyOps();
            if (Thread.interrupted())
                throw new InterruptedIOException("interrupted");
            if (left <= 0)
                return 0;
        }
    }

    private void send(ByteBuffer out) {
        try {
            channel.write(out);
        } catch (IOException error) {
            out.position(out.limit()); // the server may have sent an ERR before it closed: receive it
        }
    }

    private void receive() throws IOException {
        if (in.length - end < LONGEST_LINE) {
            byte[] larger = end - begin > in.length / 2 ? new byte[in.length * 2] : in;
            System.arraycopy(in, begin, larger, 0, end - begin);
            in = larger;
            end -= begin;
            begin = 0;
        }
        int n = channel.read(ByteBuffer.wrap(in, end, in.length - end));
        if (n < 0)
            throw new IOException("the server closed the connection");
        end += n;
    }

    /** Removes the next answer from the received bytes, and keeps the events before it. Null if it is incomplete. */
    private Answer parse() throws IOException {
        for (;;) {
            int lf = begin;
            while (lf < end && in[lf] != '\n')
                lf++;
            if (lf == end && end - begin < LONGEST_LINE)
                return null;
            Matcher match = ANSWER.matcher(new String(in, begin, lf - begin, StandardCharsets.UTF_8));
            if (lf == end || !match.matches())
                throw new IOException("not an answer of dipc");
            String[] words = match.group(1).split(" ");
            byte[] data = {};
            int next = lf + 1;
            if (words[0].equals("DATA") || words[0].equals("EVENT")) {
                long last = next + Long.parseLong(words[1]);
                if (last >= Integer.MAX_VALUE - LONGEST_LINE)
                    throw new IOException("a message of " + words[1] + " bytes is too large for this client");
                if (last >= end)
                    return null;
                if (in[(int) last] != '\n')
                    throw new IOException("not an answer of dipc");
                data = Arrays.copyOfRange(in, next, (int) last);
                next = (int) last + 1;
            }
            begin = next;
            String word = words.length > 1 ? words[1] : "";
            Answer answer = new Answer(words[0], word, match.group(2), match.group(3), data);
            if (!answer.kind.equals("EVENT"))
                return answer;
            events.add(answer);
            if (answer.isLostJob())
                forgetJob((int) answer.number("box"), answer.number("v"), true);
            eventBytes += data.length;
            if (eventBytes > KEPT)
                throw new IOException("too many events that next() has not returned");
        }
    }

    private static long deadline(long ms) {
        long ns = ms < Long.MAX_VALUE / 2000000 ? ms * 1000000 : Long.MAX_VALUE;
        return ns == Long.MAX_VALUE ? ns : System.nanoTime() + ns;
    }

    private static long toMillis(Duration wait) {
        return wait.getSeconds() < Integer.MAX_VALUE ? wait.toMillis() : Long.MAX_VALUE;
    }

    /** A key with seconds for the line of a request, or nothing. */
    private static String seconds(String key, Duration time) {
        if (time == null)
            return "";
        long ms = toMillis(time);
        String fraction = String.format(Locale.ROOT, ".%03d", ms % 1000);
        return " " + key + "=" + (ms == Long.MAX_VALUE ? "inf" : ms / 1000 + fraction);
    }

    private static String list(int[] boxes) {
        if (boxes.length == 0)
            throw new IllegalArgumentException("a mailbox is missing");
        return Arrays.stream(boxes).mapToObj(Integer::toString).collect(Collectors.joining(","));
    }

    /** Whether a value is a number of 64 bits. */
    private static boolean isNumber(String value) {
        return value.matches("\\d{1,19}") || value.matches("\\d{20}") && value.compareTo(LARGEST) <= 0;
    }

    private static long numberOf(Map<String, String> fields, String key) {
        String value = fields.getOrDefault(key, "");
        return isNumber(value) ? Long.parseUnsignedLong(value) : 0;
    }

    /** An answer or an event. */
    private static final class Answer {
        final String kind, word, text;
        final HashMap<String, String> fields = new HashMap<>();
        final byte[] data;
        private final String pairs;

        Answer(String kind, String word, String pairs, String text, byte[] data) {
            this.kind = kind;
            this.word = word;
            this.pairs = pairs;
            this.text = text;
            this.data = data;
            for (String pair : pairs.trim().split(" ")) {
                String[] both = pair.split("=", 2);
                if (both.length == 2)
                    fields.put(both[0], both[1]);
            }
        }

        long number(String key) {
            return numberOf(fields, key);
        }

        boolean isNegative() {
            return kind.equals("NO") || kind.equals("ERR");
        }

        /** Whether this is the event of a message in hand that was given back. */
        boolean isLostJob() {
            return "take".equals(fields.get("lost"));
        }

        /** Whether the server closes after this answer. */
        boolean closes() {
            return kind.equals("ERR") && CLOSING.contains(word);
        }

        boolean hasShape(String shape) {
            String[] words = shape.split(" ");
            return kind.equals(words[0]) && Arrays.stream(words).skip(1)
                    .allMatch(field -> isNumber(fields.getOrDefault(field, "")));
        }

        String description() {
            return word + pairs + (text == null ? "" : ": " + text);
        }

        IOException exception() {
            switch (kind + " " + word) {
                case "NO timeout": return new Timeout(this);
                case "NO conflict": return fields.containsKey("box") ? new NameTaken(this) : new Conflict(this);
                case "NO empty": return new Empty(this);
                case "NO full": return new Full(this);
                case "NO locked": return new Locked(this);
                case "NO ahead": return new Ahead(this);
                case "ERR lease": return new LockLost(this);
                case "ERR deadlock": return new Deadlock(this);
                case "ERR denied": return new Denied(this);
                default: break;
            }
            if (kind.equals("NO"))
                return new NotDone(this);
            return kind.equals("ERR") ? new Refused(this) : new IOException("the server answered another request");
        }
    }
}
