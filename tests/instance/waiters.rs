//! Processes that wait for changes in the shared memory: the bell of a mailbox, and the mark of a segment
//! that is removed.

use dipc_testkit::instance::BaseDirectory;
use dipc_testkit::port::Port;
use dipc_testkit::process::run;
use dipc_testkit::wait::wait_until;
use dipc_testkit::waiter::Waiter;

#[test]
fn each_change_rings_the_bell_of_a_mailbox_with_waiters() {
    let base = BaseDirectory::new();
    let server = base.start("4 64 0 8");
    let waiter = Waiter::open(&base, &server);
    assert_eq!(base.join(format!("{}/waiters", server.port)).metadata().expect("a file").len(), 4 * 4);
    let mut client = server.connect();
    client.ask("w 2\nno waiter\n", "OK v=1\n");
    assert_eq!((waiter.bell(2), waiter.flag(2)), (0, 0));
    let large = format!("w 2 8000\n{}\n", "x".repeat(8000));
    let requests = ["w 2\nnews\n", "put 2\nmore\n", &large, "take 2\n", "lock 2\nunlock 2\n"];
    for (rung, request) in (0..).zip(requests) {
        waiter.set_flag(2);
        waiter.set_flag(1);
        client.send(request);
        client.message();
        // The bell of a plain take rings when its answer was written.
        wait_until("the bell", || (waiter.bell(2), waiter.flag(2)) == (rung + 1, 0));
        assert_eq!((waiter.bell(1), waiter.flag(1)), (0, 1), "another mailbox");
        if request.starts_with("lock") {
            client.expect("OK\n");
        }
    }
    waiter.set_flag(2);
    client.ask("r 2\n", "DATA 0 v=4 n=0\n\n");
    assert_eq!((waiter.bell(2), waiter.flag(2)), (5, 1), "a read changes nothing");
}

#[test]
fn a_change_rings_the_bell_although_the_next_request_of_its_run_waits() {
    let base = BaseDirectory::new();
    let server = base.start("4 1 0 1");
    let waiter = Waiter::open(&base, &server);
    waiter.set_flag(2);
    let mut client = server.connect();
    let large = "x".repeat(900);
    // One batch, and one run. The third request has no room, and waits.
    client.send(format!("put 2\nnews\nput 2 900\n{large}\nput 2 900 wait=inf\n{large}\n"));
    client.expect("OK v=1 n=1\nOK v=2 n=2\n");
    wait_until("the bell", || (waiter.bell(2), waiter.flag(2)) == (1, 0));
}

#[test]
fn a_process_that_waits_for_the_bell_is_woken() {
    let Some(python) = dipc_testkit::program::python3() else { return };
    let base = BaseDirectory::new();
    let server = base.start("4 64 0 8");
    let directory = base.join(server.port.to_string());
    // futex(2) has no function in the C library. 202 is its number on x86-64, 98 elsewhere.
    let program = "import ctypes, mmap, os, platform, sys\n\
        libc = ctypes.CDLL(None, use_errno=True)\n\
        segment = mmap.mmap(os.open(sys.argv[1] + '/segment', os.O_RDWR), 0)\n\
        flags = mmap.mmap(os.open(sys.argv[1] + '/waiters', os.O_RDWR), 0)\n\
        bell = ctypes.c_uint32.from_buffer(segment, 4096 + 2 * 128 + 112)\n\
        number = 202 if platform.machine() == 'x86_64' else 98\n\
        seen = bell.value\n\
        flags[8] = 1\n\
        print('ready', flush=True)\n\
        limit = (ctypes.c_long * 2)(20, 0)\n\
        libc.syscall(number, ctypes.byref(bell), 0, seen, ctypes.byref(limit))\n\
        print('rung', bell.value - seen, flush=True)\n\
        os._exit(0)\n";
    let mut command = std::process::Command::new(python);
    command.args(["-c", program]).arg(&directory).stdout(std::process::Stdio::piped());
    let mut child = dipc_testkit::process::KillOnDrop(command.spawn().expect("spawned"));
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.0.stdout.take().expect("piped")));
    assert_eq!(lines.next().expect("a line").expect("text"), "ready");
    server.connect().ask("w 2\nnews\n", "OK v=1\n");
    assert_eq!(lines.next().expect("a line").expect("text"), "rung 1");
}

#[test]
fn a_segment_that_is_removed_or_replaced_is_marked() {
    let (base, port) = (BaseDirectory::new(), Port::reserve());
    let arguments = format!("4 64 {} 8", port.number);
    let server = base.start(&arguments);
    let first = Waiter::open(&base, &server);
    run(std::process::Command::new(dipc_testkit::program::dipcrm()).args([
        "--keep",
        &port.number.to_string(),
        "--dir",
        &base.path().display().to_string(),
    ]))
    .expect_success();
    assert!(!first.is_retired(), "it is kept");
    let bell = first.bell(3);
    let server = base.start(&format!("{arguments} --fresh"));
    assert!(first.is_retired() && first.bell(3) == bell + 1);
    let second = Waiter::open(&base, &server);
    assert!(!second.is_retired());
    base.dipcrm(port.number).expect_success();
    assert!(second.is_retired() && second.bell(0) == 1);
    base.expect_nothing_left();
}

#[test]
fn flags_of_an_earlier_server_are_cleared() {
    let (base, port) = (BaseDirectory::new(), Port::reserve());
    let arguments = format!("4 64 {} 8", port.number);
    let server = base.start(&arguments);
    Waiter::open(&base, &server).set_flag(1);
    server.end(nix::sys::signal::Signal::SIGKILL);
    let server = base.start(&arguments);
    let waiter = Waiter::open(&base, &server);
    assert_eq!((waiter.flag(1), waiter.bell(1)), (0, 0));
}
