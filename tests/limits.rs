//! What happens at the limits: ten thousand clients, no place left, no descriptor left, a million mailboxes.
#![allow(missing_docs)]

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use dipc_testkit::client::{Client, reset};
use dipc_testkit::descriptors;
use dipc_testkit::directory::Directory;
use dipc_testkit::port::port_in;
use dipc_testkit::process::{run, text};
use dipc_testkit::program;
use dipc_testkit::server::Server;
use dipc_testkit::wait::{HANG, wait_until};
use nix::sys::signal::Signal::{SIGCONT, SIGSTOP};
use nix::sys::statvfs::statvfs;

/// Descriptors that a process may have in the goal that these tests prove.
const DESCRIPTORS: u64 = 20_000;

// ---- many clients ----

#[test]
fn ten_thousand_clients_are_answered_and_then_rest_at_512_bytes_each() {
    const CLIENTS: usize = 10_000;
    let _turn = many_descriptors();
    let server = Server::start("4 64 0 8");
    descriptors::limit(server.pid(), DESCRIPTORS);
    let before = server.own_memory();
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| server.connect()).collect();
    clients[0].ask("w 0 5\nhello\n", "OK v=1\n");
    clients.iter_mut().for_each(|client| client.ask("ping\nr 0\n", "OK\nDATA 5 v=1 n=1\nhello\n"));
    expect_rest_at(&server, 512, before, CLIENTS);
    assert_eq!(clients[0].stat("connections"), CLIENTS as u64);
    assert_eq!(clients[0].stat("connections_busy"), 0);
    // Nobody was forgotten while resting, and there are no more places.
    let mut newcomer = server.connect();
    newcomer.expect("ERR busy max=10000");
    clients.iter_mut().rev().for_each(|client| client.ask("ping\n", "OK\n"));
}

#[test]
fn ten_thousand_clients_give_their_buffers_back() {
    const CLIENTS: usize = 10_000;
    const SIZE: usize = 4096;
    let _turn = many_descriptors();
    let server = Server::start("1 4 0 4 --quiet-ms 0");
    let before = server.own_memory();
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| server.connect()).collect();
    let message = format!("w 0 {SIZE}\n{}", "x".repeat(SIZE));
    clients.iter_mut().for_each(|client| client.send(&message));
    let burst = before + (CLIENTS * SIZE) as u64;
    wait_until("the server holds all messages but their end", || server.own_memory() >= burst);
    clients.iter_mut().for_each(|client| client.send("\n"));
    clients.iter_mut().for_each(|client| assert!(client.line().starts_with("OK v=")));
    // They rest, and what they needed for a while went back to the system, but for some that the server keeps to use
    // it again.
    expect_rest_at(&server, 1024, before, CLIENTS);
}

#[test]
fn three_thousand_clients_that_come_at_once_are_all_served() {
    const CLIENTS: usize = 3_000;
    let _turn = many_descriptors();
    let server = Server::start("4 64 0 8");
    // While the server stands still, all of them wait before the door: the backlog takes them without a retry.
    server.signal(SIGSTOP);
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(|client| client.send("ping\n"));
    server.signal(SIGCONT);
    clients.iter_mut().for_each(|client| client.expect("OK\n"));
    assert_eq!(clients[0].stat("connections_accepted"), CLIENTS as u64);
    assert_eq!(clients[0].stat("accepts_stuck"), 0);
}

#[test]
fn five_thousand_resets_leave_no_descriptor_and_no_memory_behind() {
    const CYCLES: u64 = 5_000;
    const AT_ONCE: u64 = 250;
    let server = Server::start("4 64 0 8");
    let mut client = server.connect();
    client.ask("w 0\nhello\n", "OK v=1\n");
    let connect_and_reset = |number: u64| {
        let mut stream = TcpStream::connect(("127.0.0.1", server.port)).expect("connected");
        // Silent, in a header, in a body, with an answer on its way, with many, after the last.
        let said: &[u8] = match number % 6 {
            0 => b"",
            1 => b"r",
            2 => b"w 1 4096\nhalf",
            3 => b"r 0\n",
            4 => &b"r 0\n".repeat(100),
            _ => b"ping\nq\n",
        };
        stream.write_all(said).expect("sent");
        reset(stream).expect("reset");
    };
    let mut come = 1;
    let mut when_gone = |more: u64| {
        come += more;
        wait_until("all have come", || client.stat("connections_accepted") == come);
        wait_until("all have gone", || client.stat("connections") == 1);
        (server.descriptors(), server.own_memory())
    };
    // At first all at once, so that the memory for so many is there.
    server.signal(SIGSTOP);
    (0..AT_ONCE).for_each(connect_and_reset);
    server.signal(SIGCONT);
    when_gone(AT_ONCE);
    let mut cycles = |times: u64| {
        let cycle = |_| {
            (0..AT_ONCE).for_each(connect_and_reset);
            when_gone(AT_ONCE)
        };
        (0..times / AT_ONCE).map(cycle).last().expect("some")
    };
    let before = cycles(CYCLES / 5);
    let after = cycles(CYCLES);
    println!("descriptors {} and {}, memory {} and {}", before.0, after.0, before.1, after.1);
    assert_eq!(after.0, before.0, "descriptors");
    let grown = after.1.saturating_sub(before.1);
    assert!(grown <= 50 * CYCLES, "{grown} bytes more after {CYCLES} resets");
}

// ---- no place left ----

#[test]
fn at_the_limit_of_clients_newcomers_are_told_so_and_the_others_are_served() {
    let server = Server::start("4 64 0 8 --max-clients 50");
    let mut clients: Vec<Client> = (0..50).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(|client| client.ask("ping\n", "OK\n"));
    let descriptors = server.descriptors();
    // All at once.
    server.signal(SIGSTOP);
    let mut newcomers: Vec<Client> = (0..500).map(|_| server.connect()).collect();
    server.signal(SIGCONT);
    newcomers.iter_mut().for_each(expect_busy(50));
    wait_until("their descriptors are free", || server.descriptors() == descriptors);
    clients.iter_mut().for_each(|client| client.ask("ping\n", "OK\n"));
    assert_eq!(clients[0].stat("connections"), 50);
    assert_eq!(clients[0].stat("connections_busy"), 500);
    assert_eq!(clients[0].stat("connections_no_descriptor"), 0);
}

#[test]
fn newcomers_that_talk_first_are_told_too_that_there_is_no_place() {
    let server = Server::start("4 64 0 64 --max-clients 1");
    let mut client = server.connect();
    client.ask("ping\n", "OK\n");
    let message = format!("w 0 65536\n{}\n", "x".repeat(65536));
    for said in ["ping\n", "r 0", &message] {
        let mut newcomer = TcpStream::connect(("127.0.0.1", server.port)).expect("connected");
        newcomer.set_read_timeout(Some(HANG)).expect("set");
        // Being hung up on while talking is not an error, not being told why is.
        let _ = newcomer.write_all(said.as_bytes());
        expect_busy(1)(&mut Client::over(newcomer));
    }
    client.ask("r 0\n", "DATA 0 v=0 n=0\n\n");
}

#[test]
fn newcomers_at_the_unix_socket_are_told_too_that_there_is_no_place() {
    let server = Server::start_with_socket("4 64 0 8 --max-clients 2");
    let path = server.socket();
    let mut clients = [server.connect(), Client::unix(&path)];
    clients.iter_mut().for_each(|client| client.ask("ping\n", "OK\n"));
    for _ in 0..20 {
        expect_busy(2)(&mut Client::unix(&path));
        expect_busy(2)(&mut server.connect());
    }
    let [stays, leaves] = &mut clients;
    leaves.send("q\n");
    leaves.expect_end();
    wait_until("a place is free", || stays.stat("connections") == 1);
    Client::unix(&path).ask("ping\n", "OK\n");
}

#[test]
fn newcomers_are_served_as_soon_as_places_are_free() {
    let server = Server::start("4 64 0 8 --max-clients 50");
    let mut clients: Vec<Client> = (0..50).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(|client| client.ask("ping\n", "OK\n"));
    for round in 0..100 {
        expect_busy(50)(&mut server.connect());
        let stay = 1 + round % 49;
        clients.truncate(stay);
        wait_until("the others have left", || clients[0].stat("connections") == stay as u64);
        clients.extend((stay..50).map(|_| server.connect()));
        clients.iter_mut().for_each(|client| client.ask("ping\n", "OK\n"));
    }
    assert_eq!(clients[0].stat("connections_busy"), 100);
}

#[test]
fn whoever_leaves_before_another_comes_has_left_a_place() {
    const CLIENTS: usize = 8;
    let server = Server::start_with_socket(&format!("4 64 0 8 --max-clients {CLIENTS}"));
    let path = server.socket();
    // Over a Unix-domain socket, where the server can know as soon as it is said. Not by close(2): a process that
    // another test is just starting may still have the socket too.
    let come_and_leave = || {
        let mut client = Client::unix(&path);
        client.ask("ping\n", "OK\n");
        client.half_close();
    };
    // Never are there more than there are places.
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| (0..500).for_each(|_| come_and_leave()));
        }
    });
}

// ---- no descriptor left ----

#[test]
fn a_server_with_few_descriptors_serves_as_many_clients_as_it_can() {
    let server = start_with_descriptors(60, "4 64 0 8").expect("60 are enough");
    let mut clients: Vec<Client> = (0..60 - 32).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(|client| client.ask("ping\n", "OK\n"));
    for _ in 0..100 {
        expect_busy(60 - 32)(&mut server.connect());
    }
    assert_eq!(clients[0].stat("max_clients"), 60 - 32);
    clients.pop();
    clients[0].ask("ping\n", "OK\n");
    server.connect().ask("ping\n", "OK\n");
}

#[test]
fn with_any_number_of_descriptors_a_server_serves_or_tells_why_not() {
    let mut served = false;
    for descriptors in 4..40 {
        match start_with_descriptors(descriptors, "1 1 0 1") {
            Err(said) => assert!(said.contains("Too many open files"), "{descriptors} descriptors: {said:?}"),
            Ok(server) => {
                let mut client = server.connect();
                client.send("ping\n");
                let answer = client.line();
                assert!(
                    answer == "OK" || answer.starts_with("ERR busy"),
                    "{descriptors} descriptors: {answer}"
                );
                served = answer == "OK";
            }
        }
    }
    assert!(served, "39 are enough");
}

#[test]
fn without_a_descriptor_newcomers_are_told_so_and_the_server_rests() {
    let server = Server::start("4 64 0 8 --quiet-ms 1000");
    let mut clients: Vec<Client> = (0..20).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(|client| client.ask("ping\n", "OK\n"));
    descriptors::limit(server.pid(), descriptors::limit_with_room_for(server.pid(), 0));
    let mut newcomers: Vec<Client> = (0..300).map(|_| server.connect()).collect();
    newcomers.iter_mut().for_each(expect_busy(20));
    assert_eq!(clients[0].stat("connections_no_descriptor"), 300);
    assert_eq!(clients[0].stat("connections_busy"), 0);
    expect_rest(&server, &mut clients[0]);
    // One goes, one comes; and then it is full again.
    for _ in 0..50 {
        clients.pop();
        wait_until("a descriptor is free", || clients[0].stat("connections") == 19);
        clients.push(server.connect());
        clients.iter_mut().for_each(|client| client.ask("ping\n", "OK\n"));
        expect_busy(20)(&mut server.connect());
    }
    descriptors::limit(server.pid(), DESCRIPTORS.min(descriptors::hard_limit()));
    let mut more: Vec<Client> = (0..100).map(|_| server.connect()).collect();
    more.iter_mut().for_each(|client| client.ask("ping\n", "OK\n"));
}

#[test]
fn who_waits_before_the_door_is_served_when_there_are_descriptors_again() {
    let server = Server::start("4 64 0 8 --quiet-ms 1000");
    let mut client = server.connect();
    client.ask("ping\n", "OK\n");
    // Not even one to turn somebody away with.
    descriptors::limit(server.pid(), 3);
    let mut newcomers: Vec<Client> = (0..40).map(|_| server.connect()).collect();
    newcomers.iter_mut().for_each(|newcomer| newcomer.send("ping\n"));
    wait_until("the server has tried", || client.stat("accepts_stuck") > 0);
    expect_rest(&server, &mut client);
    descriptors::limit(server.pid(), DESCRIPTORS.min(descriptors::hard_limit()));
    newcomers.iter_mut().for_each(|newcomer| newcomer.expect("OK\n"));
    assert_eq!(client.stat("connections_no_descriptor"), 0);
}

#[test]
fn newcomers_are_told_again_after_a_time_without_any_descriptor() {
    let server = Server::start("4 64 0 8");
    let mut client = server.connect();
    client.ask("ping\n", "OK\n");
    let room_for_ten = descriptors::limit_with_room_for(server.pid(), 10);
    descriptors::limit(server.pid(), 3);
    let mut newcomer = server.connect();
    newcomer.send("ping\n");
    wait_until("the server has tried", || client.stat("accepts_stuck") > 0);
    // Who comes beyond those ten is told that there is no more.
    descriptors::limit(server.pid(), room_for_ten);
    newcomer.expect("OK\n");
    let mut newcomers: Vec<Client> = (0..30).map(|_| server.connect()).collect();
    newcomers.iter_mut().for_each(|newcomer| newcomer.send("ping\n"));
    let answers: Vec<String> = newcomers.iter_mut().map(Client::line).collect();
    let served = answers.iter().filter(|answer| *answer == "OK").count();
    let busy = answers.iter().filter(|answer| answer.starts_with("ERR busy max=")).count();
    assert!(served >= 8 && served + busy == 30, "{answers:?}");
}

#[test]
fn a_server_without_a_descriptor_is_stopped_in_order() {
    let mut server = Server::start("4 64 0 8");
    let mut client = server.connect();
    client.ask("ping\n", "OK\n");
    descriptors::limit(server.pid(), descriptors::limit_with_room_for(server.pid(), 0));
    expect_busy(1)(&mut server.connect());
    run(&mut server.dipcrm()).expect_success();
    assert_eq!(server.wait(), Some(0), "stopped, not killed");
}

// ---- many mailboxes ----

#[test]
fn a_million_mailboxes_cost_the_server_at_most_256_bytes_each() {
    const MAILBOXES: u64 = 1_000_000;
    let shared = statvfs("/dev/shm").expect("/dev/shm");
    let available = shared.blocks_available() * shared.fragment_size();
    if available < MAILBOXES * 2_400 {
        eprintln!("not tested: /dev/shm has room for {available} bytes only");
        return;
    }
    let small = Server::start("1 1 0 1");
    let server = Server::start(&format!("{MAILBOXES} 1 0 1"));
    let each = server.own_memory().saturating_sub(small.own_memory()) / MAILBOXES;
    println!("{each} bytes for each of {MAILBOXES} mailboxes");
    assert!(each <= 256, "a mailbox costs {each} bytes");
    let mut client = server.connect();
    for mailbox in [0, 1, MAILBOXES / 2, MAILBOXES - 2, MAILBOXES - 1] {
        client.ask(format!("w {mailbox} 1024\n{mailbox:01024}\n"), "OK v=1\n");
    }
    for mailbox in [0, 1, MAILBOXES / 2, MAILBOXES - 2, MAILBOXES - 1] {
        client.ask(format!("r {mailbox}\n"), format!("DATA 1024 v=1 n=1\n{mailbox:01024}\n"));
    }
    client.ask(format!("r {}\n", MAILBOXES - 3), "DATA 0 v=0 n=0\n\n");
    client.ask(format!("r {MAILBOXES}\n"), "ERR box max=999999 : mailboxes are numbered 0 to 999999\n");
}

// ---- much work ----

#[test]
fn a_small_change_of_a_large_message_is_work_for_a_worker() {
    let server = Server::start("1 8192 0 8192");
    let mut client = server.connect();
    client.ask(format!("w 0 8388608\n{}\n", "x".repeat(8 << 20)), "OK v=1\n");
    let before = client.stat("jobs_unaided");
    // The server has to copy all of it each time, and the reactor has no time for that.
    (2..50).for_each(|version| client.ask("w 0 1 off=0\ny\n", format!("OK v={version}\n")));
    assert_eq!(client.stat("jobs_unaided") - before, 0, "done by the reactor");
}

#[test]
fn small_requests_that_make_a_mailbox_large_are_work_for_a_worker() {
    let server = Server::start("1 1024 0 1024");
    let mut client = server.connect();
    let before = client.stat("jobs_unaided");
    // In one packet: what the first one makes large each of the others copies, and the last one hides it.
    let requests =
        ["w 0 1 off=1048575\nx\n".to_owned(), "w 0 1 off=0\nx\n".repeat(100), "w 0 0\n\n".to_owned()];
    client.send(requests.concat());
    (1..=102).for_each(|version| client.expect(format!("OK v={version}\n")));
    assert_eq!(client.stat("jobs_unaided") - before, 0, "done by the reactor");
}

/// How much work a job is was known when it was granted, and not when it was begun.
#[test]
fn what_others_made_large_in_the_same_turn_is_work_for_a_worker() {
    const READERS: usize = 40;
    const SIZE: usize = 100_000;
    let server = Server::start("64 100 0 100");
    let mut writer = server.connect();
    let mut readers: Vec<Client> = (0..READERS).map(|_| server.connect()).collect();
    readers.iter_mut().for_each(|client| client.ask("ping\n", "OK\n"));
    let before = server.stat("jobs_posted");
    server.halt();
    let message = "x".repeat(SIZE);
    writer.send(format!("w 0 {SIZE}\n{message}\n"));
    let reads = |mailbox: usize| format!("r {mailbox}\n{}", "r 0\n".repeat(11));
    readers.iter_mut().zip(1..).for_each(|(client, mailbox)| client.send(reads(mailbox)));
    server.signal(SIGCONT);
    let answers = "DATA 0 v=0 n=0\n\n".to_owned() + &format!("DATA {SIZE} v=1 n=1\n{message}\n").repeat(11);
    readers.iter_mut().for_each(|client| client.expect(&answers));
    assert_eq!(server.stat("jobs_posted") - before, READERS as u64, "left to the workers");
}

#[test]
fn each_turn_has_its_own_share_of_work() {
    let server = Server::start("1 64 0 64");
    let mut client = server.connect();
    let before = client.stat("jobs_unaided");
    // More than one turn may do.
    (0..1000).for_each(|_| client.ask("r 0\n", "DATA 0 v=0 n=0\n\n"));
    assert_eq!(client.stat("jobs_unaided") - before, 1000, "done by the reactor");
}

#[test]
fn a_crowd_that_a_lock_has_kept_waiting_is_not_answered_in_one_turn() {
    const CROWD: usize = 1000;
    let server = Server::start("1 64 0 64");
    let mut holder = server.connect();
    holder.ask("lock 0\n", "OK grant=1\n");
    let mut crowd: Vec<_> = (0..CROWD).map(|_| server.connect()).collect();
    crowd.iter_mut().for_each(|client| client.send("r 0\n"));
    server.wait_for_stat("waiting", |count| count == CROWD as u64);
    let before = server.stat("jobs_posted");
    holder.ask("unlock 0\n", "OK\n");
    crowd.iter_mut().for_each(|client| client.expect("DATA 0 v=0 n=0\n\n"));
    // The reactor would look at no socket while it answers all of them.
    let posted = server.stat("jobs_posted") - before;
    assert!(posted > CROWD as u64 / 2, "only {posted} were left to the workers");
}

// ---- what these tests share ----

/// The newcomer gets one line, that the server is full with `max` clients, and then the end.
fn expect_busy(max: usize) -> impl Fn(&mut Client) {
    move |newcomer| {
        let answer = text(&newcomer.read_to_end());
        let start = format!("ERR busy max={max} : ");
        let one_line = answer.ends_with('\n') && answer.lines().count() == 1;
        assert!(answer.starts_with(&start) && one_line, "{answer:?}");
    }
}

/// Each of so many clients costs the server at most so many bytes, as soon as it knows that they rest.
fn expect_rest_at(server: &Server, most: u64, before: u64, clients: usize) {
    let each = || server.own_memory().saturating_sub(before) / clients as u64;
    wait_until(&format!("a client at rest costs {most} bytes"), || each() <= most);
    println!("{} bytes for each of {clients} clients at rest", each());
}

/// For as long as silence takes to complete a request, the server does next to nothing.
fn expect_rest(server: &Server, client: &mut Client) {
    let before = server.cpu_time();
    client.ask("ping", "OK\n");
    let spent = server.cpu_time() - before;
    assert!(spent <= Duration::from_millis(50), "{spent:?} of CPU time in one second of rest");
}

/// For this process, which has the other end of every connection. There are enough for one such test at a time.
fn many_descriptors() -> MutexGuard<'static, ()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let hard = descriptors::hard_limit();
    assert!(hard >= DESCRIPTORS, "this test needs {DESCRIPTORS} descriptors, the limit is {hard}");
    descriptors::allow(hard);
    turn
}

/// A server that never had more than `descriptors`, or what it said instead of starting.
fn start_with_descriptors(descriptors: u64, arguments: &str) -> Result<Server, String> {
    let directory = Directory::new();
    let mut child = Command::new("sh")
        .args(["-c", &format!("ulimit -n {descriptors} && exec \"$0\" \"$@\"")])
        .arg(program::dipc())
        .args(arguments.split_whitespace())
        .arg("--dir")
        .arg(directory.path())
        .args(["--foreground", "--log-level", "off"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("sh");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("read");
    match port_in(&line) {
        Some(port) => Ok(Server { port, directory, child }),
        None => Err(text(&child.wait_with_output().expect("it ends").stderr)),
    }
}
