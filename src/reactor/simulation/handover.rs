//! A handover to a new server: when the segment is quiet, and the way back.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use super::pipe::ClientEnd;
use super::request::{ClientRequest, Wait};
use super::world::World;

fn world() -> World {
    World::new(0, Rc::new(RefCell::new(VecDeque::new())))
}

fn put(mailbox: u32) -> ClientRequest {
    ClientRequest::Put { mailbox, drop_oldest: false, body: b"a message".to_vec(), wait: Wait::Forever }
}

fn count(world: &World, mailbox: u32) -> u64 {
    world.server.mailboxes.contents(mailbox).expect("whole").count
}

/// A worker that is in the middle of a copy cannot be interrupted. The descriptors must not be sent before it
/// has ended, because the new server would change the segment beside it.
#[test]
fn the_server_is_not_quiet_while_a_worker_has_the_job_of_a_cut_connection() {
    let mut world = world();
    let client = world.connect_with_capacity(1000);
    world.send_requests(client, [put(0), put(1)]);
    world.run_quiet_tick();
    world.server.begin_handover();
    world.run_quiet_tick();
    assert!(!world.server.is_quiet(), "the connection is open");
    // The oracle expects an answer for every client that is there.
    let (end, _) = world.clients[client].close(ClientEnd::Closed);
    world.oracle.client_closed(client, end);
    world.server.cut_connections();
    world.run_quiet_tick();
    assert!(!world.server.is_quiet() && count(&world, 0) == 0, "a worker has the job");
    world.run_jobs(|_| true);
    assert!(!world.server.is_quiet(), "the job is not returned");
    world.run_quiet_tick();
    assert!(world.server.is_quiet());
    assert_eq!((count(&world, 0), count(&world, 1)), (1, 1));
}

#[test]
fn a_cancelled_handover_serves_again() {
    let mut world = world();
    let first = world.connect_with_capacity(1000);
    world.server.begin_handover();
    (0..3).for_each(|_| world.run_quiet_tick());
    assert!(world.server.is_quiet());
    world.send_requests(first, [put(0)]);
    (0..3).for_each(|_| world.run_quiet_tick());
    assert!(world.server.is_quiet(), "no client is read");
    world.server.cancel_handover();
    let second = world.connect_with_capacity(1000);
    world.send_requests(second, [put(1)]);
    (0..2).for_each(|_| world.run_quiet_tick());
    world.run_until_quiescent();
    assert_eq!((count(&world, 0), count(&world, 1)), (1, 1));
}
