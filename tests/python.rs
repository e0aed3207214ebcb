//! The Python client against the real server.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use dipc_testkit::directory::Directory;
use dipc_testkit::process::{run, text};
use dipc_testkit::program;
use dipc_testkit::server::Server;

const CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/python");

/// More seconds than pip needs, also on a slow machine with a slow registry.
const PIP_TIME: &str = "300";

#[test]
fn the_python_client_passes_its_own_tests() {
    let Some(python) = program::python3() else { return };
    let server = Server::start_with_socket("4 64 0 8");
    let script = format!("{CLIENT}/run_tests.py");
    let Some(library) = local_library() else { return };
    let mut tests = Command::new(python);
    tests.args([&script, &server.port.to_string()]).arg(server.socket()).arg(program::dipc());
    tests.env("DIPC_LOCAL_LIBRARY", library);
    let tests = tests.output().expect("python3 runs");
    let report = text(&tests.stderr);
    assert!(tests.status.success() && !report.contains("skipped"), "{report}");
    assert!(!report.contains("Ran 0 tests"), "{report}");
}

/// The compiled library for reads in the shared memory. `None` without make.
fn local_library() -> Option<PathBuf> {
    let mut make = Command::new(program::find("make")?);
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python");
    fs::create_dir_all(&directory).expect("a directory");
    make.args(["-s", "-C", concat!(env!("CARGO_MANIFEST_DIR"), "/clients/c"), "local"]);
    // The variables of a make that runs this test.
    make.arg(format!("BUILD={}", directory.display())).env_remove("MAKEFLAGS").env_remove("MAKELEVEL");
    run(&mut make).expect_success();
    Some(directory.join("libdipc_local.so"))
}

#[test]
fn pip_installs_the_modules_and_the_command() {
    let Some(environment) = installed() else { return };
    let server = Server::start("4 64 0 8");
    let port = server.port.to_string();
    // A directory named `dipc` in the working directory does not hide the module.
    fs::create_dir(environment.join("dipc")).expect("a new directory");
    let command = |name: &str, arguments: &[&str]| {
        let mut command = Command::new(environment.join("bin").join(name));
        command.args(arguments).current_dir(environment.path()).env_remove("PYTHONPATH");
        run(&mut command)
    };
    command("dipc-py", &[&port, "write", "3", "hello"]).expect(0, "version 1\n");
    let code = format!(
        "import asyncio, dipc, dipc_aio, dipc_local, importlib.metadata\n\
         print(dipc.connect({port}).read(3), importlib.metadata.version('dipc'))\n\
         async def read():\n    async with dipc_aio.connect({port}) as m:\n        print(await m.read(3))\n\
         asyncio.run(read())\n"
    );
    let version = env!("CARGO_PKG_VERSION");
    command("python3", &["-c", &code]).expect(0, format!("b'hello' {version}\nb'hello'\n"));
    let find = "import dipc, os; print(os.path.dirname(dipc.__file__))";
    let package = command("python3", &["-c", find]).text();
    for typed in ["py.typed", "../dipc_aio/py.typed", "../dipc_local/py.typed"] {
        assert!(Path::new(package.trim_end()).join(typed).exists(), "{package} has no {typed}");
    }
}

/// A virtual environment with the client. Prints that nothing is tested, and returns `None`, if this machine
/// has no Python, venv or pip, or if pip cannot fetch the build tool of the client.
fn installed() -> Option<Directory> {
    let python = program::python3()?;
    let environment = Directory::new();
    let output = |command: &mut Command| -> Output { command.output().expect("the program runs") };
    let made = output(Command::new(python).args(["-m", "venv"]).arg(environment.path()));
    if !made.status.success() {
        println!("{python} makes no virtual environment with pip: not tested\n{}", text(&made.stderr));
        return None;
    }
    let mut pip = Command::new("timeout");
    pip.arg(PIP_TIME).arg(environment.join("bin/pip")).args(["install", "--retries", "1", CLIENT]);
    let done = output(&mut pip);
    let report = text(&done.stderr);
    if !done.status.success() && report.contains("No matching distribution found for hatchling") {
        println!("pip cannot fetch hatchling: not tested\n{report}");
        return None;
    }
    assert!(done.status.success(), "{report}");
    Some(environment)
}
