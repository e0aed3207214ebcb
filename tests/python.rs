//! The Python client against the real server.

use std::process::Command;

use dipc_testkit::process::text;
use dipc_testkit::program;
use dipc_testkit::server::Server;

#[test]
fn the_python_client_passes_its_own_tests() {
    let Some(python) = program::python3() else { return };
    let server = Server::start_with_socket("4 64 0 8");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/python/run_tests.py");
    let mut tests = Command::new(python);
    tests.args([script, &server.port.to_string()]).arg(server.socket()).arg(program::dipc());
    let tests = tests.output().expect("python3 runs");
    let report = text(&tests.stderr);
    assert!(tests.status.success() && !report.contains("skipped"), "{report}");
    assert!(!report.contains("Ran 0 tests"), "{report}");
}
