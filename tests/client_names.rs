//! Names of mailboxes in the Rust client.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use dipc::client::{Client, Code, Error, Event, JobOptions, LockOptions, Mailbox, Reason, Topic};
use dipc_testkit::server::Server;
use dipc_testkit::wait::HANG;

/// A server of 4 mailboxes, of which 3 has the name `jobs` and 1 the name `results`, and a client of it.
fn start() -> (Server, Client) {
    let server = Server::start("4 64 0 8");
    let mut client = connect(&server);
    client.set_mailbox_name(3, Some("jobs")).expect("named");
    client.set_mailbox_name(1, Some("results")).expect("named");
    (server, client)
}

fn connect(server: &Server) -> Client {
    let mut client = Client::open(&format!("dipc://127.0.0.1:{}", server.port)).expect("connected");
    client.set_timeout(Some(HANG)).expect("set");
    client
}

/// Gives the name of mailbox 3 to mailbox 0.
fn move_jobs(server: &Server) {
    server.connect().ask("name jobs -\nname 0 jobs\n", "OK name=-\nOK name=jobs\n");
}

#[test]
fn requests_accept_names_without_a_round_trip_of_their_own() {
    let (server, mut client) = start();
    let before = server.stat("requests");
    client.put("jobs", "one").expect("put");
    assert_eq!(client.read(String::from("jobs")).expect("read").data, b"one");
    assert_eq!(client.write(Mailbox::from("jobs"), "two").expect("written"), 2);
    assert_eq!(client.take("3", None).expect("taken").data, b"two");
    assert_eq!(client.mailbox_number(3).expect("a number"), 3);
    // The fifth request is the stat of this test.
    assert_eq!(server.stat("requests") - before, 5);
    assert_eq!((server.stat_box(3, "version"), client.mailbox_number("jobs").expect("a name")), (2, 3));
}

#[test]
fn a_name_is_set_listed_and_removed() {
    let (_server, mut client) = start();
    assert_eq!(client.names().expect("listed"), [(1, "results".to_owned()), (3, "jobs".to_owned())]);
    assert_eq!(client.mailbox_name(3).expect("answered").as_deref(), Some("jobs"));
    client.set_mailbox_name("jobs", None).expect("removed");
    assert_eq!(client.mailbox_name(3).expect("answered"), None);
    let stat = client.stat_mailbox("results").expect("answered");
    assert_eq!((stat.number("mailbox"), stat.value("name")), (Some(1), Some("results")));
    assert_eq!(client.stat(Topic::Names).expect("answered").text(), "1 results\n");
}

#[test]
fn the_name_of_another_mailbox_is_a_conflict_with_its_number() {
    let (_server, mut client) = start();
    let error = client.set_mailbox_name(0, Some("jobs")).expect_err("taken");
    assert!(matches!(error, Error::NotDone { reason: Reason::NameTaken(3), version: None }), "{error:?}");
    assert_eq!(error.to_string(), "conflict: mailbox 3 has this name");
}

#[test]
fn a_wrong_name_is_not_sent_and_an_unknown_one_is_refused() {
    let (server, mut client) = start();
    let before = server.stat("requests");
    for wrong in ["", "Jobs", "jobs 5", "jobs\nq", "jobs,1", "4294967296", &"a".repeat(65)] {
        match client.read(wrong) {
            Err(Error::Io(error)) => assert_eq!(error.kind(), ErrorKind::InvalidInput),
            other => panic!("{wrong:?}: {other:?}"),
        }
        assert!(client.lock(Mailbox::from(wrong)).is_err());
        assert!(client.set_mailbox_name(0, Some(wrong)).is_err());
    }
    assert_eq!(server.stat("requests"), before + 1, "the stat of this test");
    let unknown = client.watch("jobs,nobody", None).expect_err("unknown");
    assert!(matches!(unknown, Error::Refused { code: Code::Box, max: Some(3), .. }), "{unknown:?}");
    assert!(matches!(client.read("nobody"), Err(Error::Refused { code: Code::Box, .. })));
    client.unwatch(&[]).expect("the connection is open");
}

#[test]
fn a_lock_stays_on_its_mailbox_when_the_name_moves() {
    let (server, mut client) = start();
    let brief = LockOptions { ttl: Some(Duration::from_millis(50)), ..LockOptions::default() };
    let lock = client.lock("jobs,results").expect("locked");
    assert_eq!((lock.mailboxes(), lock.is_lost()), ([3, 1].as_slice(), false));
    move_jobs(&server);
    drop(lock);
    assert_eq!(server.stat("locks_held"), 0);
    assert_eq!(client.locks().count(), 0);
    let mut lock = client.lock_with("jobs", &brief).expect("locked");
    let fencing_token = lock.fencing_token();
    let lost = Event::LockLost { mailbox: 0, fencing_token, by_max_hold: false };
    assert_eq!(lock.event(Some(HANG)).expect("an event"), Some(lost));
    assert!(lock.is_lost());
    drop(lock);
    let token = client.lock("jobs").expect("locked").keep();
    client.unlock("jobs", Some(token)).expect("unlocked");
    assert_eq!((client.locks().count(), server.stat("locks_held")), (0, 0));
}

#[test]
fn a_job_stays_in_its_mailbox_when_the_name_moves() {
    let (server, mut client) = start();
    client.put("jobs", "one").expect("put");
    let job = client.take_job("jobs").expect("taken");
    move_jobs(&server);
    assert_eq!(job.mailbox(), 3);
    assert_eq!(job.done().expect("done"), 0);
    client.put("jobs", "two").expect("put");
    let brief = JobOptions { ttl: Some(Duration::from_millis(50)), ..JobOptions::default() };
    let mut job = client.take_job_with("jobs", &brief).expect("taken");
    let lost = Event::JobLost { mailbox: 0, version: 1, tries: 1 };
    assert_eq!(job.event(Some(HANG)).expect("an event"), Some(lost));
    assert!(job.is_lost());
    drop(job);
    let job = client.take_job("jobs").expect("taken").keep();
    client.back("jobs", job.version).expect("given back");
    let job = client.take_job("jobs").expect("taken").keep();
    assert_eq!(client.done("jobs", job.version).expect("done"), 0);
    assert_eq!(client.event(Some(HANG)).expect("no error"), None, "no message is in hand");
}

#[test]
fn a_watch_by_name_has_events_of_the_number_also_after_a_reconnect() {
    let (server, mut client) = start();
    assert_eq!(client.watch("jobs", None).expect("watched"), [0]);
    client.write(3, "one").expect("written");
    let message = |version, data: &str| Event::Message { mailbox: 3, version, data: data.into(), lost: 0 };
    assert_eq!(client.event(Some(HANG)).expect("an event"), Some(message(1, "one")));
    move_jobs(&server);
    client.write("jobs", "not watched").expect("written");
    client.reconnect(None).expect("connected");
    client.write(3, "two").expect("written");
    assert_eq!(client.event(Some(HANG)).expect("an event"), Some(message(2, "two")));
    // The name means another mailbox now, which is not watched.
    client.unwatch("jobs").expect("unwatched");
    client.write(3, "three").expect("written");
    assert_eq!(client.event(Some(HANG)).expect("an event"), Some(message(3, "three")));
    client.unwatch(3).expect("unwatched");
    assert_eq!(client.event(Some(HANG)).expect("no error"), None);
}

/// The name moves between the two requests: the server sees only the number in the second one.
#[test]
fn a_lock_by_name_is_sent_with_the_number_that_the_client_records() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut client = Client::connect(listener.local_addr().expect("bound")).expect("connected");
    client.set_timeout(Some(HANG)).expect("set");
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        for (request, answer) in [
            ("hello\nstat box jobs\n", "OK life=7\nDATA 21\nmailbox 3\nname jobs\n\n\n"),
            ("lock 3\n", "OK grant=9\n"),
        ] {
            let mut received = vec![0; request.len()];
            stream.read_exact(&mut received).expect("a request");
            assert_eq!(String::from_utf8_lossy(&received), request);
            stream.write_all(answer.as_bytes()).expect("answered");
        }
    });
    client.lock("jobs").expect("locked").keep();
    assert_eq!(client.locks().collect::<Vec<_>>(), [(3, 9)]);
    server.join().expect("the requests are as expected");
}

/// The server answers in parts of 32 KiB.
#[test]
fn all_parts_of_the_names_are_listed() {
    let server = Server::start("1000 1 0 1");
    let mut client = connect(&server);
    let name = |number: u32| format!("{}.{number}", "x".repeat(50));
    (0..1000).for_each(|number| client.set_mailbox_name(number, Some(&name(number))).expect("named"));
    let names = client.names().expect("listed");
    assert!(names.into_iter().eq((0..1000).map(|number| (number, name(number)))));
    assert!(client.stat(Topic::Names).expect("answered").text().len() > 32 * 1024, "one part");
}
