//! A relay between a new server and the running one, which stops between two messages of the handover.

use std::fs;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use dipc_testkit::instance::Instance;
use dipc_testkit::process::{KillOnDrop, Outcome, finish, first_line, has_ended, signal, stat_fields};
use dipc_testkit::wait::{HANG, wait_until};
use nix::cmsg_space;
use nix::sys::signal::Signal;
use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr,
    accept, bind, connect, recvmsg, sendmsg, setsockopt, socket, sockopt::ReceiveTimeout,
};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::Scene;

/// The messages of a handover, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    Nothing,
    Hello,
    Ready,
    Go,
    Descriptors,
    Ack,
    Commit,
}

impl Step {
    pub(crate) const ALL: [Step; 6] =
        [Step::Hello, Step::Ready, Step::Go, Step::Descriptors, Step::Ack, Step::Commit];

    /// The beginning of the message.
    fn word(self) -> &'static [u8] {
        match self {
            Step::Nothing => b"",
            Step::Hello => b"takeover 1\n",
            Step::Ready => b"ready",
            Step::Go => b"go",
            Step::Descriptors => b"descriptors ",
            Step::Ack => b"ack",
            Step::Commit => b"commit",
        }
    }

    fn is_from_new(self) -> bool {
        matches!(self, Step::Hello | Step::Go | Step::Ack)
    }
}

/// The two connections. `passed` is the last message that was passed.
pub(crate) struct Relay {
    new: End,
    old: End,
    passed: Step,
}

/// One end of a connection.
struct End(OwnedFd);

/// A new server in the foreground.
pub(crate) struct Successor(Option<KillOnDrop>);

/// A listening control socket.
pub(crate) struct Listener(OwnedFd);

/// A message with its descriptors.
pub(crate) type Message = (Vec<u8>, Vec<OwnedFd>);

impl Relay {
    /// Starts a new server in the foreground, and comes between it and the running one. Nothing is passed.
    #[track_caller]
    pub(crate) fn between(scene: &Scene) -> (Self, Successor) {
        let directory = scene.base.join(scene.port.number.to_string());
        let (control, kept) = (directory.join("control.sock"), directory.join("kept"));
        // The running server checks the name of its control socket.
        halt(scene.server.pid);
        fs::rename(&control, &kept).expect("renamed");
        let listener = listen(&control);
        let mut command = scene.base.dipc(&scene.arguments());
        let successor = Successor::spawn(command.arg("--foreground"));
        let new = listener.accept();
        fs::rename(&kept, &control).expect("renamed");
        signal(scene.server.pid.cast_unsigned(), Signal::SIGCONT);
        let old = End(seqpacket());
        connect(old.0.as_raw_fd(), &UnixAddr::new(&control).expect("short")).expect("connected");
        (Relay { new, old, passed: Step::Nothing }, successor)
    }

    /// Passes messages up to this one.
    #[track_caller]
    pub(crate) fn pass_until(&mut self, last: Step) {
        for step in Step::ALL.into_iter().filter(|step| *step > self.passed && *step <= last) {
            let message = self.take(step);
            self.give(step, &message);
        }
        self.passed = last;
    }

    /// Continues behind this message, which the test has passed.
    pub(crate) fn skip_to(&mut self, step: Step) {
        self.passed = step;
    }

    /// Receives the message that is next.
    #[track_caller]
    pub(crate) fn take(&self, step: Step) -> Message {
        let message = if step.is_from_new() { self.new.receive() } else { self.old.receive() };
        assert!(message.0.starts_with(step.word()), "{step:?}: {}", message.0.escape_ascii());
        message
    }

    /// Sends a message that was received. Its receiver may have closed the connection.
    pub(crate) fn give(&self, step: Step, message: &Message) {
        let to = if step.is_from_new() { &self.old } else { &self.new };
        to.send(message);
    }

    /// Sends the running server a message of the test.
    pub(crate) fn send_to_old(&self, message: &[u8]) {
        self.old.send(&(message.to_vec(), Vec::new()));
    }

    /// Waits until the running server refuses the handover, and passes its reason. Returns the reason.
    #[track_caller]
    pub(crate) fn pass_refusal(&self) -> String {
        let message = self.old.receive();
        let text = String::from_utf8_lossy(&message.0).into_owned();
        assert!(text.starts_with("refused "), "{text}");
        self.new.send(&message);
        text
    }
}

/// The answer of a running server to a first message.
#[track_caller]
pub(crate) fn greet(scene: &Scene, hello: &[u8]) -> String {
    let control = scene.base.join(scene.port.number.to_string()).join("control.sock");
    let end = End(seqpacket());
    connect(end.0.as_raw_fd(), &UnixAddr::new(&control).expect("short")).expect("connected");
    end.send(&(hello.to_vec(), Vec::new()));
    String::from_utf8(end.receive().0).expect("text")
}

impl Successor {
    fn spawn(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Successor(Some(KillOnDrop(command.spawn().expect("it runs"))))
    }

    fn child(&mut self) -> &mut Child {
        &mut self.0.as_mut().expect("it was not waited for").0
    }

    pub(crate) fn pid(&mut self) -> i32 {
        self.child().id().cast_signed()
    }

    /// Waits until it serves. It ends with its base directory.
    #[track_caller]
    pub(crate) fn serving(&mut self) -> Instance {
        let instance = Instance::of(first_line(self.child()));
        assert_eq!(instance.pid, self.pid());
        instance
    }

    #[track_caller]
    pub(crate) fn kill(&mut self) {
        self.child().kill().expect("our child");
        self.child().wait().expect("our child");
    }

    #[track_caller]
    pub(crate) fn halt(&mut self) {
        halt(self.pid());
    }

    #[track_caller]
    pub(crate) fn resume(&mut self) {
        signal(self.child().id(), Signal::SIGCONT);
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn outcome(mut self) -> Outcome {
        let pid = self.pid();
        wait_until("the new server ends", || has_ended(pid));
        let mut child = self.0.take().expect("not waited for");
        let child = std::mem::replace(&mut child.0, Command::new("true").spawn().expect("it runs"));
        finish(child, b"")
    }
}

impl Listener {
    #[track_caller]
    fn accept(&self) -> End {
        let fd = accept(self.0.as_raw_fd()).expect("accepted");
        // SAFETY: the descriptor is new, and nothing else owns it.
        #[allow(unsafe_code, reason = "takes ownership of the descriptor")]
        End(with_timeout(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Answers one message, and returns it.
    #[track_caller]
    pub(crate) fn answer(&self, answer: &[u8]) -> Vec<u8> {
        let end = self.accept();
        let (message, _) = end.receive();
        end.send(&(answer.to_vec(), Vec::new()));
        message
    }
}

impl End {
    /// The next message, which is empty at the end of the connection.
    #[track_caller]
    fn receive(&self) -> Message {
        let (mut bytes, mut space) = (vec![0; 1024], cmsg_space!([RawFd; 16]));
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let received = recvmsg::<()>(self.0.as_raw_fd(), &mut parts, Some(&mut space), flags)
            .expect("a message in time");
        let mut descriptors = Vec::new();
        for message in received.cmsgs().expect("all descriptors") {
            if let ControlMessageOwned::ScmRights(rights) = message {
                // SAFETY: the descriptors are new, and nothing else owns them.
                #[allow(unsafe_code, reason = "takes ownership of the descriptors")]
                descriptors.extend(rights.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
            }
        }
        let len = received.bytes;
        bytes.truncate(len);
        (bytes, descriptors)
    }

    fn send(&self, (bytes, descriptors): &Message) {
        let descriptors: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&descriptors)];
        let rights = if descriptors.is_empty() { &[][..] } else { &rights[..] };
        let parts = [IoSlice::new(bytes)];
        let _ = sendmsg::<()>(self.0.as_raw_fd(), &parts, rights, MsgFlags::MSG_NOSIGNAL, None);
    }
}

/// Listens as a control socket.
#[track_caller]
pub(crate) fn listen(path: &Path) -> Listener {
    let fd = seqpacket();
    bind(fd.as_raw_fd(), &UnixAddr::new(path).expect("short")).expect("bound");
    nix::sys::socket::listen(&fd, Backlog::new(8).expect("valid")).expect("listening");
    Listener(fd)
}

fn seqpacket() -> OwnedFd {
    with_timeout(
        socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).expect("a socket"),
    )
}

fn with_timeout(fd: OwnedFd) -> OwnedFd {
    let seconds = i64::try_from(HANG.as_secs()).expect("small");
    setsockopt(&fd, ReceiveTimeout, &TimeVal::seconds(seconds)).expect("set");
    fd
}

/// Stops all threads of a process until it gets `SIGCONT`.
#[track_caller]
pub(crate) fn halt(pid: i32) {
    signal(pid.cast_unsigned(), Signal::SIGSTOP);
    wait_until("the process halts", || stat_fields(pid).is_some_and(|fields| fields[0] == "T"));
}
