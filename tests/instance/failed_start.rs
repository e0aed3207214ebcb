//! A start that fails leaves nothing that it has made, and says why.

use std::fs;

use dipc_testkit::directory::names;
use dipc_testkit::instance::BaseDirectory;
use dipc_testkit::mount::Mount;
use dipc_testkit::port::{Port, port_in};
use dipc_testkit::process::{bare, run};
use dipc_testkit::program;
use nix::sys::signal::Signal;

use crate::tracer::strace;

/// Cause: the file with the path of the socket did not fit, and the new segment stayed.
#[test]
fn a_file_system_that_is_full_after_the_segment_has_nothing_left() {
    let base = BaseDirectory::new();
    let segment = 1_056_800_u64.div_ceil(4096) * 4;
    // Room for the segment and for 0, 1 or 2 further pages.
    for pages in 0..3 {
        let size = format!("size={}k,mode=700", segment + 4 * pages);
        let Some(small) = Mount::new(base.join(format!("small-{pages}")), &size) else { return };
        let mut dipc = bare(program::dipc());
        dipc.args(["4", "128", "0", "8", "--dir"]).arg(small.path());
        let outcome = run(dipc.arg("--unix").arg(base.join("socket")));
        if let Some(port) = port_in(&outcome.text()) {
            run(bare(program::dipcrm()).arg(port.to_string()).arg("--dir").arg(small.path()))
                .expect_success();
        } else {
            outcome.expect_failure(1, "No space left");
        }
        assert_eq!((names(small.path()), base.join("socket").exists()), (vec![], false), "{pages} pages");
    }
}

/// Cause: the reason was printed only to the caller's stderr, which may be closed.
#[test]
fn the_reason_is_in_the_log() {
    let base = BaseDirectory::new();
    let log = base.join("log");
    let server = base.start("4 64 0 8");
    let second = format!("4 64 {} 8 --log-file {}", server.port, log.display());
    run(&mut base.dipc(&second)).expect_failure(3, "is in use");
    assert!(fs::read_to_string(&log).expect("a log").contains("is in use"));
}

/// Cause: `--fresh` replaced the segment before the start had succeeded.
#[test]
fn a_fresh_start_that_fails_keeps_the_mailboxes() {
    let (base, port) = (BaseDirectory::new(), Port::reserve());
    let arguments = format!("4 64 {} 8", port.number);
    let server = base.start(&arguments);
    server.connect().ask("w 0\nkept\n", "OK v=1\n");
    server.end(Signal::SIGTERM);
    let before = base.files(port.number);
    let Some(mut traced) = strace("epoll_create1:error=EMFILE") else { return };
    let fresh = base.dipc(&format!("{arguments} --fresh"));
    run(traced.arg(fresh.get_program()).args(fresh.get_args())).expect_failure(1, "cannot start the server");
    assert_eq!(base.files(port.number), before);
    base.start(&arguments).connect().ask("r 0\n", "DATA 4 v=1 n=1\nkept\n");
}
