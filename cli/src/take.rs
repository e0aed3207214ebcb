//! Runs a command for a message in hand, or for each, which the command gets on its standard input.
//!
//! **Invariant**: the message is removed only if the command has exited with 0 and no signal has asked this
//! program to end, or if it was put into the mailbox of `--failed`. In all other cases it is given back. If
//! the message is lost, the command gets SIGTERM before another client can take the message, with the
//! exceptions that [`lock`](crate::lock) lists. `--max-hold` does not apply.

mod backoff;
mod policy;

use std::time::Duration;

use dipc::client::{Client, Code, Error, Event, Job, JobGuard, JobOptions, Reason};

use crate::child::{self, Exit};
use crate::failure::Failure;
use crate::interrupts::Interrupts;
use crate::lease;
use crate::options::TakeOptions;
use crate::outer_locks;
use crate::output::Output;
use crate::reconnect::Retry;
use crate::signals::Signals;
use crate::supervisor::Supervisor;
use backoff::Backoff;
use policy::{Action, Next, Outcome, Policy};

/// Why a message is lost although its connection exists.
const EXPIRED: &str = "the message was given back: the server had no contact with this program for --ttl";

/// The exit code if the command did not run because of `--max-tries`.
const SKIPPED: u8 = 1;

/// How Ctrl-C at the prompt cancels a request that waits.
pub(crate) struct Cancellation<'a> {
    pub interrupts: &'a Interrupts,
    /// Called when a request waits for long.
    pub on_wait: &'a (dyn Fn() + Sync),
}

/// A worker: takes messages, and runs the command for each.
pub(crate) struct Worker<'a> {
    options: &'a TakeOptions,
    policy: Policy,
    out: &'a Output,
    cancellation: Option<Cancellation<'a>>,
    signals: Signals,
}

/// How a command has ended.
enum Run {
    Ended(Outcome, Exit),
    /// The message was lost, and the command was terminated.
    Lost(Error),
}

/// What comes after a message.
enum Step {
    Continue,
    Pause,
    End(Exit),
    /// The wait for a message was cancelled.
    Cancelled,
}

impl<'a> Worker<'a> {
    pub(crate) fn new(
        options: &'a TakeOptions,
        cancellation: Option<Cancellation<'a>>,
        out: &'a Output,
    ) -> Result<Self, Failure> {
        Ok(Worker { options, policy: Policy::new(options), out, cancellation, signals: Signals::new()? })
    }

    /// Takes a message and runs the command for it; with `--every` message after message. Returns how the
    /// worker ended. None: the wait for a message was cancelled, which closes the connection.
    pub(crate) fn run(mut self, client: &mut Client) -> Result<Option<Exit>, Failure> {
        self.check_failed_mailbox(client)?;
        let mut backoff = Backoff::new();
        loop {
            let step = self.step(client).or_else(|failure| self.recover(client, failure))?;
            match step {
                Step::Continue => backoff = Backoff::new(),
                Step::Pause => {
                    if let Some(signal) = self.signals.wait_for_ending(backoff.next())? {
                        return Ok(Some(Exit::by(signal)));
                    }
                }
                Step::End(exit) => return Ok(Some(exit)),
                Step::Cancelled => return Ok(None),
            }
        }
    }

    /// Fails if messages cannot be moved into the mailbox of `--failed`.
    fn check_failed_mailbox(&self, client: &mut Client) -> Result<(), Failure> {
        let Some(failed) = &self.options.failed else { return Ok(()) };
        let failed = client.mailbox_number(failed)?;
        if failed == client.mailbox_number(&self.options.mailbox.id)? {
            return Err(Failure::Usage("--failed has to be another mailbox than BOX".to_owned()));
        }
        let last = client.hello(None)?.mailboxes.saturating_sub(1);
        match failed > last {
            true => {
                Err(Failure::Usage(format!("--failed: no mailbox {failed}; this server has 0 to {last}")))
            }
            false => Ok(()),
        }
    }

    /// Takes a message, runs the command for it, and ends the time in hand.
    fn step(&mut self, client: &mut Client) -> Result<Step, Failure> {
        // The signal may have arrived while the message before was removed.
        if let Some(signal) = self.signals.ending() {
            return Ok(Step::End(Exit::by(signal)));
        }
        let mut guard = match self.take(client) {
            Ok(Some(guard)) => guard,
            Ok(None) => return Ok(Step::Cancelled),
            Err(Failure::Client(Error::NotDone { reason: Reason::Empty, .. })) if self.options.every => {
                return Ok(Step::End(Exit { code: 0, signal: None }));
            }
            Err(failure) => return Err(failure),
        };
        let _captured = self.cancellation.as_ref().map(|cancellation| cancellation.interrupts.capture());
        if let Some(signal) = self.signals.ending() {
            return Ok(Step::End(Exit::by(signal)));
        }
        self.out.print_job_info(guard.version(), guard.count(), guard.tries());
        let run = match self.policy.skips(guard.tries()) {
            true => Run::Ended(Outcome::Skipped, Exit { code: SKIPPED, signal: None }),
            false => self.run_command(&mut guard)?,
        };
        let job = guard.keep();
        match run {
            Run::Ended(outcome, exit) => self.settle(client, &job, outcome, exit),
            Run::Lost(error) => Err(error.into()),
        }
    }

    /// Goes on after the loss of a message or of the connection, if this is a worker for every message.
    fn recover(&mut self, client: &mut Client, failure: Failure) -> Result<Step, Failure> {
        if !self.options.every || self.signals.ending().is_some() {
            return Err(failure);
        }
        if client.is_closed() {
            let signals = &mut self.signals;
            let pause = |time| Ok(signals.wait_for_ending(time)?.is_none());
            Retry(self.options.retry).reconnect(client, failure, self.out, pause)?;
            if let Some(signal) = self.signals.ending() {
                return Ok(Step::End(Exit::by(signal)));
            }
            while let Some(event) = client.event(Some(Duration::ZERO))? {
                self.out.print_loss(&event);
            }
            return Ok(Step::Pause);
        }
        match failure {
            Failure::Client(Error::Refused { code: Code::Lease, .. }) => {
                self.out.print_error(&failure);
                Ok(Step::Pause)
            }
            failure => Err(failure),
        }
    }

    /// Takes a message in hand. None: the wait was cancelled.
    fn take<'c>(&mut self, client: &'c mut Client) -> Result<Option<JobGuard<'c>>, Failure> {
        let mailbox = &self.options.mailbox.id;
        let limits = JobOptions { ttl: Some(self.ttl()), wait: self.options.take_wait() };
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
            Err(code) => return Ok(Run::Ended(Outcome::NotStarted, Exit { code, signal: None })),
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
            Some(signal) if exit.code == 0 => Run::Ended(Outcome::Stopped, Exit::by(signal)),
            Some(_) => Run::Ended(Outcome::Stopped, exit),
            None if exit.code == 0 => Run::Ended(Outcome::Succeeded, exit),
            None => Run::Ended(Outcome::Failed, exit),
        })
    }

    /// Removes the message, gives it back or moves it.
    fn settle(
        &mut self,
        client: &mut Client,
        job: &Job,
        outcome: Outcome,
        exit: Exit,
    ) -> Result<Step, Failure> {
        let (action, next) = self.policy.decide(outcome, job.tries);
        let why = match (outcome, self.options.max_tries) {
            (Outcome::Skipped, Some(max)) => format!("handed out {} times, --max-tries is {max}", job.tries),
            (Outcome::Failed, Some(max)) => format!("{exit} in try {} of {max}", job.tries),
            _ => exit.to_string(),
        };
        match action {
            Action::Remove => self.remove(client, job, "the command has succeeded")?,
            Action::GiveBack => self.give_back(client, job, &why)?,
            Action::Move => self.move_failed(client, job, &why)?,
        }
        Ok(match next {
            Next::Continue => Step::Continue,
            Next::Pause => Step::Pause,
            Next::End => Step::End(exit),
        })
    }

    /// Removes the message. `what` is what has happened before.
    fn remove(&mut self, client: &mut Client, job: &Job, what: &str) -> Result<(), Failure> {
        let Job { mailbox, version, .. } = *job;
        match self.repeat(|| client.done(mailbox, version).map(drop))? {
            Err(Error::Refused { code: code @ Code::Lease, .. }) => {
                let text = format!(
                    "{what}, but message {version} of mailbox {mailbox} is not in hand any more: it was \
                     removed, or another worker may have got it"
                );
                Err(Error::Refused { code, text, max: None }.into())
            }
            Err(error) => {
                self.out.print_note(&format!(
                    "{what}, but message {version} of mailbox {mailbox} may be handed out again"
                ));
                Err(error.into())
            }
            Ok(()) => Ok(()),
        }
    }

    fn give_back(&mut self, client: &mut Client, job: &Job, why: &str) -> Result<(), Failure> {
        let Job { mailbox, version, .. } = *job;
        let when = match self.repeat(|| client.back(mailbox, version))? {
            Ok(()) => "was given back",
            Err(Error::NotDone { .. }) => "will be given back with the connection or after --ttl",
            Err(error) => return Err(error.into()),
        };
        self.out.print_note(&format!("message {version} of mailbox {mailbox} {when}: {why}"));
        Ok(())
    }

    /// Puts the message into the mailbox of `--failed`, then removes it. Gives it back if it cannot be put
    /// there.
    fn move_failed(&mut self, client: &mut Client, job: &Job, why: &str) -> Result<(), Failure> {
        let Some(target) = &self.options.failed else { return Ok(()) };
        if let Err(error) = self.repeat(|| client.put(target, &job.data).map(drop))? {
            if !client.is_closed() {
                self.give_back(client, job, &format!("it could not be put into mailbox {target}"))?;
            }
            return Err(error.into());
        }
        self.remove(client, job, &format!("it was put into mailbox {target}"))?;
        let Job { mailbox, version, .. } = *job;
        self.out.print_note(&format!(
            "message {version} of mailbox {mailbox} was moved to mailbox {target}: {why}"
        ));
        Ok(())
    }

    /// Sends a request again while the mailbox is not free, until a signal asks this program to end. The
    /// message stays in hand.
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
