//! Regression tests for defects that random runs have found, reproduced without randomness. Each
//! comment states the defect.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use super::pipe::ClientEnd;
use super::request::{ClientRequest, Wait};
use super::world::World;
use crate::reactor::connection::WRITE_PROGRESS;
use crate::workers::{ConnectionId, Owner};

const FOREVER: Wait = Wait::Forever;

fn world() -> World {
    World::new(0, Rc::new(RefCell::new(VecDeque::new())))
}

fn write(mailbox: u32) -> ClientRequest {
    ClientRequest::Write {
        mailbox,
        expected: None,
        offset: None,
        body: b"a message of some length".to_vec(),
        wait: FOREVER,
    }
}

fn read(mailbox: u32) -> ClientRequest {
    ClientRequest::Read { mailbox, after: None, part: None, wait: FOREVER }
}

fn take(mailbox: u32, wait: Wait) -> ClientRequest {
    ClientRequest::Take { mailbox, ttl: None, wait }
}

fn put(mailbox: u32, body: &[u8]) -> ClientRequest {
    ClientRequest::Put { mailbox, drop_oldest: false, body: body.to_vec(), wait: FOREVER }
}

fn put_waiting(mailbox: u32, len: usize, wait: Wait) -> ClientRequest {
    ClientRequest::Put { mailbox, drop_oldest: false, body: vec![b'x'; len], wait }
}

fn unlock() -> ClientRequest {
    ClientRequest::Unlock { mailboxes: None, grant: None }
}

fn lock(mailbox: u32, seconds: u64) -> ClientRequest {
    ClientRequest::Lock {
        mailboxes: vec![mailbox],
        shared: false,
        wait: FOREVER,
        ttl: Some(Duration::from_secs(seconds)),
    }
}

fn watch(mailbox: u32) -> ClientRequest {
    ClientRequest::Watch { mailboxes: vec![mailbox], after: None }
}

impl World {
    fn outstanding_count(&self, client: usize) -> usize {
        self.oracle.models[client].outstanding.len()
    }

    fn message_count(&self, mailbox: u32) -> u64 {
        self.oracle.mailboxes[mailbox as usize].current().count
    }

    /// Fills a client's socket with an event of `mailbox`, which the client watches and `other` writes.
    fn fill_socket(&mut self, client: usize, other: usize, mailbox: u32) {
        self.send_requests(other, [write(mailbox)]);
        let id = self.clients[client].id;
        self.run_all_except(id);
        assert!(self.server.clients.look(id).is_some_and(|connection| connection.has_output()));
    }

    /// Closes the sending half of a client.
    fn half_close(&mut self, client: usize) {
        let (end, _) = self.clients[client].close(ClientEnd::HalfClosed);
        self.oracle.client_closed(client, end);
    }

    /// Runs the server and all jobs except those of one connection.
    fn run_all_except(&mut self, id: ConnectionId) {
        for _ in 0..10 {
            self.run_quiet_tick();
            self.run_jobs(|job| job.owner != Owner::Client(id));
        }
    }
}

/// The reply to `watch` was delayed until a worker had executed the rest of the batch, and an event was sent
/// before the reply.
#[test]
fn no_event_precedes_the_reply_to_its_watch() {
    let mut world = world();
    let [watcher, writer] = [world.connect_with_capacity(1000), world.connect_with_capacity(1000)];
    world.send_requests(watcher, [watch(0), write(1)]);
    world.run_quiet_tick();
    world.send_requests(writer, [write(0)]);
    world.run_all_except(world.clients[watcher].id);
    world.run_until_quiescent();
    assert_eq!(world.oracle.events, 1);
}

/// The event of an expired lock was sent before the replies of the batch in progress, including the reply to
/// the `lock` itself.
#[test]
fn a_lost_lock_is_reported_after_the_reply_that_granted_it() {
    let mut world = world();
    let client = world.connect_with_capacity(1000);
    world.send_requests(client, [lock(0, 1), write(1)]);
    world.run_quiet_tick();
    world.advance_time(Duration::from_secs(2));
    world.run_until_quiescent();
    let model = &world.oracle.models[client];
    assert!(model.outstanding.is_empty() && model.locks.is_empty() && model.lost_locks.contains_key(&0));
}

/// A job that began to wait while its client's socket was full delayed the earlier replies until its wait was
/// over.
#[test]
fn earlier_replies_are_not_delayed_by_a_waiting_request() {
    let mut world = world();
    let [client, other] = [world.connect_with_capacity(30), world.connect_with_capacity(1000)];
    world.send_requests(other, [lock(2, 100)]);
    world.send_requests(client, [watch(0)]);
    world.run_until_quiescent();
    world.send_requests(client, [read(1), take(2, FOREVER)]);
    world.run_quiet_tick();
    world.fill_socket(client, other, 0);
    world.run_until_quiescent();
    assert_eq!(world.outstanding_count(client), 2);
    world.read_all(client);
    assert_eq!(world.outstanding_count(client), 1, "the read is replied to, the take waits");
}

/// A `take` whose message was requeued because its client did not read started its wait again.
#[test]
fn a_requeued_take_keeps_its_deadline() {
    let mut world = world();
    let [client, holder, other] = [30, 1000, 1000].map(|capacity| world.connect_with_capacity(capacity));
    world.send_requests(holder, [lock(2, 100), write(2)]);
    world.send_requests(client, [watch(0)]);
    world.run_until_quiescent();
    world.send_requests(client, [take(2, Wait::For(Duration::from_secs(1)))]);
    world.run_until_quiescent();
    world.advance_time(Duration::from_millis(500));
    world.send_requests(holder, [ClientRequest::Unlock { mailboxes: None, grant: None }, lock(2, 100)]);
    world.run_quiet_tick();
    world.fill_socket(client, other, 0);
    world.run_until_quiescent();
    assert_eq!((world.message_count(2), world.outstanding_count(client)), (1, 1), "the message is requeued");
    world.read_all(client);
    assert_eq!(world.outstanding_count(client), 1, "the mailbox is locked again");
    world.advance_time(Duration::from_millis(500));
    world.run_until_quiescent();
    assert_eq!(world.outstanding_count(client), 0, "the wait is over");
}

/// A message was taken for a client that did not even read the earlier replies.
#[test]
fn an_unread_message_is_requeued() {
    let mut world = world();
    let [client, other] = [world.connect_with_capacity(10), world.connect_with_capacity(1000)];
    world.send_requests(other, [write(1), write(2)]);
    world.run_until_quiescent();
    world.send_requests(client, [read(1), take(2, FOREVER)]);
    world.run_until_quiescent();
    assert_eq!(world.message_count(2), 0, "the message is in flight");
    world.advance_time(Duration::from_secs(1));
    world.run_until_quiescent();
    assert_eq!(world.message_count(2), 1, "the message is requeued");
    world.send_requests(other, [take(2, FOREVER)]);
    world.run_until_quiescent();
    assert_eq!(world.outstanding_count(other), 0);
}

/// Over TCP, a close cannot be distinguished from a half-close. The request of a closed client waited one
/// second longer, and a message that arrived in that second was lost.
#[test]
fn no_message_is_taken_for_a_half_closed_client() {
    let mut world = world();
    let [taker, writer] = [world.connect_with_capacity(1000), world.connect_with_capacity(1000)];
    world.send_requests(taker, [take(2, FOREVER)]);
    world.run_until_quiescent();
    world.half_close(taker);
    world.send_requests(writer, [write(2)]);
    world.run_until_quiescent();
    assert_eq!((world.message_count(2), world.outstanding_count(taker)), (1, 0));
}

/// A run kept its mailbox although it had just put the message that another client's `take` waited for. Then
/// the run replaced this message.
#[test]
fn a_run_yields_to_a_request_whose_condition_it_has_met() {
    let mut world = world();
    let [taker, writer] = [world.connect_with_capacity(1000), world.connect_with_capacity(1000)];
    world.send_requests(taker, [take(0, FOREVER)]);
    world.run_until_quiescent();
    world.send_requests(writer, [put(0, b"for the taker"), write(0), put(0, b"another one")]);
    world.run_until_quiescent();
    assert_eq!([taker, writer].map(|client| world.outstanding_count(client)), [0, 0]);
    assert_eq!(world.oracle.mailboxes[0].current().version, 3);
    assert_eq!(world.message_count(0), 2, "the first message is taken before it is replaced");
}

/// Batches of several clients for one mailbox were interleaved request by request.
#[test]
fn runs_of_several_clients_are_not_interleaved() {
    let mut world = world();
    let [holder, first, second] = [1000; 3].map(|capacity| world.connect_with_capacity(capacity));
    world.send_requests(holder, [lock(1, 100)]);
    world.run_until_quiescent();
    for client in [first, second] {
        world.send_requests(client, [write(1), write(1), write(1)]);
        world.run_quiet_tick();
    }
    world.send_requests(holder, [ClientRequest::Unlock { mailboxes: None, grant: None }]);
    world.run_until_quiescent();
    assert_eq!([first, second].map(|client| world.oracle.last_version(client)), [Some(3), Some(6)]);
}

/// A read waited for exclusive access, because its run was queued with the mode that the writes behind the
/// read need.
#[test]
fn a_read_does_not_wait_for_the_writes_behind_it() {
    let mut world = world();
    let [holder, client] = [1000; 2].map(|capacity| world.connect_with_capacity(capacity));
    let shared = ClientRequest::Lock { mailboxes: vec![1], shared: true, wait: FOREVER, ttl: None };
    world.send_requests(holder, [shared]);
    world.run_until_quiescent();
    world.send_requests(client, [read(1), read(1), write(1)]);
    world.run_until_quiescent();
    assert_eq!(world.outstanding_count(client), 1, "the write waits for the shared lock, the reads do not");
}

/// A run that had waited for room went on under the same grant. The rest of the run passed the requests that
/// waited for room behind the run, even if the rest had to wait again.
#[test]
fn the_rest_of_a_run_that_waited_for_room_comes_after_those_that_wait() {
    let mut world = world();
    let [first, second, taker] = [1000; 3].map(|capacity| world.connect_with_capacity(capacity));
    world.send_requests(taker, [put(0, &[b'x'; 20]), put(0, &[b'x'; 36])]);
    world.run_until_quiescent();
    world.send_requests(first, [put(0, &[b'a'; 16]), put(0, b"")]);
    world.run_until_quiescent();
    world.send_requests(second, [put(0, &[b'b'; 44])]);
    world.run_until_quiescent();
    world.send_requests(taker, [take(0, FOREVER)]);
    world.run_until_quiescent();
    assert_eq!([first, second].map(|client| world.outstanding_count(client)), [1, 1], "the rest waits");
    world.send_requests(taker, [take(0, FOREVER)]);
    world.run_until_quiescent();
    assert_eq!([first, second].map(|client| world.outstanding_count(client)), [1, 0], "the second is next");
    world.send_requests(taker, [take(0, FOREVER)]);
    world.run_until_quiescent();
    assert_eq!([first, second].map(|client| world.oracle.last_version(client)), [Some(5), Some(4)]);
}

/// The second put of a run waited for room under the ticket of the first one, which had waited to be
/// admitted. The message about the first wait arrived after the message about the second wait, and set the
/// deadline of the second wait.
#[test]
fn late_news_of_a_wait_does_not_set_the_deadline_of_a_later_one() {
    let mut world = world();
    let [holder, client] = [1000; 2].map(|capacity| world.connect_with_capacity(capacity));
    world.send_requests(holder, [lock(0, 100)]);
    world.run_until_quiescent();
    let soon = Wait::For(Duration::from_secs(1));
    world.send_requests(client, [write(1), put_waiting(0, 60, soon), put_waiting(0, 60, FOREVER)]);
    world.run_quiet_tick();
    world.run_jobs(|_| true);
    let first_wait = std::mem::take(&mut world.done);
    world.send_requests(holder, [unlock()]);
    world.run_until_quiescent();
    assert_eq!(world.outstanding_count(client), 1, "the second put waits for room");
    world.done.extend(first_wait);
    world.run_until_quiescent();
    world.advance_time(Duration::from_secs(2));
    world.run_until_quiescent();
    assert_eq!(world.outstanding_count(client), 1, "it waits on");
    world.send_requests(holder, [take(0, FOREVER)]);
    world.run_until_quiescent();
    assert_eq!(world.outstanding_count(client), 0);
}

/// The first put of a run was admitted in time. The deadline of this put passed before the reactor knew that
/// the second put waited for room, and ended the wait of the second put.
#[test]
fn a_deadline_does_not_end_the_wait_of_a_later_request_of_the_run() {
    let mut world = world();
    let [holder, client] = [1000; 2].map(|capacity| world.connect_with_capacity(capacity));
    world.send_requests(holder, [lock(0, 100)]);
    world.run_until_quiescent();
    let soon = Wait::For(Duration::from_secs(1));
    world.send_requests(client, [put_waiting(0, 60, soon), put_waiting(0, 60, FOREVER)]);
    world.run_until_quiescent();
    world.send_requests(holder, [unlock()]);
    world.run_quiet_tick();
    world.run_jobs(|_| true);
    world.advance_time(Duration::from_secs(2));
    world.run_until_quiescent();
    assert_eq!(world.outstanding_count(client), 1, "the second put waits for room");
    world.send_requests(holder, [take(0, FOREVER)]);
    world.run_until_quiescent();
    assert_eq!(world.outstanding_count(client), 0);
}

/// A client that watched a mailbox kept its unread replies for ever.
#[test]
fn a_watcher_may_leave_events_unread_and_not_replies() {
    let mut world = world();
    let [other, replies, event] = [1000, 30, 30].map(|capacity| world.connect_with_capacity(capacity));
    let is_open =
        |world: &World, client: usize| world.server.clients.look(world.clients[client].id).is_some();
    for watcher in [replies, event] {
        world.send_requests(watcher, [watch(0)]);
        world.run_quiet_tick();
    }
    world.send_requests(replies, [read(1), read(1), read(1), read(1)]);
    world.run_all_except(world.clients[other].id);
    world.fill_socket(event, other, 0);
    world.advance_time(WRITE_PROGRESS + Duration::from_secs(1));
    world.run_quiet_tick();
    assert!(!is_open(&world, replies), "its replies are unread");
    assert!(is_open(&world, event), "its event is unread");
}
