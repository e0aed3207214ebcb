//! Runs a command for a message in hand, which the command gets on its standard input.
//!
//! **Invariant**: the message is removed only if the command has exited with 0 and no signal has asked this
//! program to end. In all other cases it is given back. If the message is lost, the command gets SIGTERM before
//! another client can take the message, with the exceptions of [`lock`](crate::lock).

use std::time::Duration;

use dipc::client::{Client, Code, Error, Event, Job, JobGuard, JobOptions, Reason};

use crate::child::{self, Exit};
use crate::failure::Failure;
use crate::interrupts::Interrupts;
use crate::lease;
use crate::options::TakeOptions;
use crate::outer_locks;
use crate::output::Output;
use crate::signals::Signals;
use crate::supervisor::Supervisor;

/// Why a message is lost although its connection exists.
const EXPIRED: &str = "the message was given back: the server had no contact with this program for --ttl";

/// How Ctrl-C at the prompt cancels a request that waits.
pub(crate) struct Cancellation<'a> {
    pub interrupts: &'a Interrupts,
    /// Called when a request waits for long.
    pub on_wait: &'a (dyn Fn() + Sync),
}

/// A worker: takes a message, and runs the command for it.
pub(crate) struct Worker<'a> {
    options: &'a TakeOptions,
    out: &'a Output,
    cancellation: Option<Cancellation<'a>>,
    signals: Signals,
}

/// What the command did with a message.
enum Run {
    /// The command has ended.
    Ended(Exit),
    /// The command has ended, and a signal has asked this program to end.
    Stopped(Exit),
    /// The command could not be started.
    NotStarted(Exit),
    /// The message was lost, and the command was terminated.
    Lost(Error),
}

impl<'a> Worker<'a> {
    pub(crate) fn new(
        options: &'a TakeOptions,
        cancellation: Option<Cancellation<'a>>,
        out: &'a Output,
    ) -> Result<Self, Failure> {
        Ok(Worker { options, out, cancellation, signals: Signals::new()? })
    }

    /// Takes a message and runs the command for it. Returns how the command ended. None: the wait for a message
    /// was cancelled, which closes the connection.
    pub(crate) fn run(mut self, client: &mut Client) -> Result<Option<Exit>, Failure> {
        let Some(mut guard) = self.take(client)? else { return Ok(None) };
        let _captured = self.cancellation.as_ref().map(|cancellation| cancellation.interrupts.capture());
        if let Some(signal) = self.signals.ending() {
            return Ok(Some(Exit::by(signal)));
        }
        self.out.print_job_info(guard.version(), guard.count(), guard.tries());
        let run = self.run_command(&mut guard)?;
        let job = guard.keep();
        match run {
            Run::Ended(exit) if exit.code == 0 => {
                self.finish(client, &job)?;
                Ok(Some(exit))
            }
            Run::Ended(exit) | Run::Stopped(exit) | Run::NotStarted(exit) => {
                self.give_back(client, &job, &exit)?;
                Ok(Some(exit))
            }
            Run::Lost(error) => Err(error.into()),
        }
    }

    /// Takes a message in hand. None: the wait was cancelled.
    fn take<'c>(&mut self, client: &'c mut Client) -> Result<Option<JobGuard<'c>>, Failure> {
        let mailbox = self.options.mailbox.number;
        let limits = JobOptions { ttl: Some(self.ttl()), wait: self.options.wait.wait };
        let cancellation = self.cancellation.as_ref();
        // A message that the server has sent when a signal ends this program is given back.
        self.signals.while_waiting(|| {
            let request = |client: &'c mut Client| client.take_job_with(mailbox, &limits);
            let Some(Cancellation { interrupts, on_wait }) = cancellation else {
                return Ok(Some(request(client)?));
            };
            let run = interrupts.run_interruptible(client, on_wait, request);
            match run.map_err(|error| Failure::local("signals", error))? {
                (_, true) => Ok(None),
                (taken, false) => Ok(Some(taken?)),
            }
        })?
    }

    fn run_command(&mut self, job: &mut JobGuard) -> Result<Run, Failure> {
        let (out, mailbox, version) = (self.out, job.mailbox(), job.version());
        // After a SIGSTOP, the message and its loss may have been received in one read.
        events(job, out)?;
        let mut command = child::command(&self.options.command);
        for (name, number) in
            [("DIPC_BOX", u64::from(mailbox)), ("DIPC_VERSION", version), ("DIPC_TRIES", job.tries())]
        {
            command.env(name, number.to_string());
        }
        command.envs(outer_locks::exported(job).map(|locks| (outer_locks::VARIABLE, locks)));
        command.stdin(child::input(job.data())?);
        let interval = lease::interval(self.ttl());
        let mut supervisor = match Supervisor::start(&mut command, &mut self.signals, out) {
            Ok(supervisor) => supervisor,
            Err(code) => return Ok(Run::NotStarted(Exit { code, signal: None })),
        };
        let timeout = job.timeout();
        let renewed = lease::renew_until_end(&mut supervisor, job, interval, |job| events(job, out))?;
        let progress = match renewed {
            Ok(progress) => progress,
            Err(error) => {
                out.print_note(&format!(
                    "message {version} of mailbox {mailbox} is lost: the command is terminated"
                ));
                let progress = supervisor.terminate()?;
                supervisor.exit(progress)?;
                // Fails only if the connection has ended.
                let _ = job.set_timeout(timeout);
                return Ok(Run::Lost(error));
            }
        };
        let exit = supervisor.exit(progress)?;
        job.set_timeout(timeout)?;
        Ok(match self.signals.ending() {
            // The command has handled the signal, which means this program too.
            Some(signal) if exit.code == 0 => Run::Stopped(Exit::by(signal)),
            Some(_) => Run::Stopped(exit),
            None => Run::Ended(exit),
        })
    }

    /// Removes the message.
    fn finish(&mut self, client: &mut Client, job: &Job) -> Result<(), Failure> {
        let Job { mailbox, version, .. } = *job;
        let done = self.repeat(|| client.done(mailbox, version).map(drop))?;
        match done {
            Err(Error::Refused { code: code @ Code::Lease, .. }) => {
                let text = format!(
                    "the command has succeeded, but message {version} of mailbox {mailbox} is not in hand any \
                     more: it was removed, or another worker may have got it"
                );
                Err(Error::Refused { code, text, max: None }.into())
            }
            Err(error) => {
                self.out.print_note(&format!(
                    "the command has succeeded, but message {version} of mailbox {mailbox} may be handed out \
                     again"
                ));
                Err(error.into())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Gives the message back.
    fn give_back(&mut self, client: &mut Client, job: &Job, exit: &Exit) -> Result<(), Failure> {
        let Job { mailbox, version, .. } = *job;
        let when = match self.repeat(|| client.back(mailbox, version))? {
            Ok(()) => "was given back",
            Err(Error::NotDone { .. }) => "will be given back with the connection or after --ttl",
            Err(error) => return Err(error.into()),
        };
        self.out.print_note(&format!("message {version} of mailbox {mailbox} {when}: {exit}"));
        Ok(())
    }

    /// Sends a request again while the mailbox is not free, until a signal asks this program to end. The message
    /// stays in hand.
    fn repeat(
        &mut self,
        mut request: impl FnMut() -> Result<(), Error>,
    ) -> Result<Result<(), Error>, Failure> {
        loop {
            let result = request();
            let is_timeout = matches!(result, Err(Error::NotDone { reason: Reason::Timeout, .. }));
            while self.signals.next()?.is_some() {}
            if !is_timeout || self.signals.ending().is_some() {
                return Ok(result);
            }
        }
    }

    fn ttl(&self) -> Duration {
        self.options.ttl.unwrap_or(lease::TTL)
    }
}

/// Reads the server's events. Fails when the message is lost.
fn events(job: &mut JobGuard, out: &Output) -> Result<(), Error> {
    let own = Event::JobLost { mailbox: job.mailbox(), version: job.version(), tries: job.tries() };
    while let Some(event) = job.event(Some(Duration::ZERO))? {
        // The prompt may hold locks, and have other messages in hand.
        if event != own {
            out.print_loss(&event);
        }
    }
    match job.is_lost() {
        true => Err(Error::Refused { code: Code::Lease, text: EXPIRED.to_owned(), max: None }),
        false => Ok(()),
    }
}
