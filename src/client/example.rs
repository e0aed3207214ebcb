//! A server for one example of the documentation.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use clap::Parser;

use crate::options::ServerOptions;

/// A server of 4 mailboxes of 64 kB in a thread of this process. It ends with the process.
#[doc(hidden)]
#[derive(Debug)]
pub struct Example {
    directory: PathBuf,
}

/// Starts the server.
///
/// # Panics
///
/// When that is not possible: it would be no example.
#[doc(hidden)]
pub fn example() -> Example {
    let directory = Path::new("/dev/shm").join(format!("dipc-example-{}", std::process::id()));
    fs::create_dir(&directory).expect("a new directory");
    let example = Example { directory };
    let mut arguments =
        ["dipc", "4", "64", "0", "8", "--foreground", "--log-level", "off"].map(PathBuf::from).to_vec();
    arguments.extend(["--dir".into(), example.directory.clone(), "--unix".into(), example.socket()]);
    let options = ServerOptions::parse_from(arguments);
    thread::spawn(move || crate::instance::start(&options));
    while !super::Client::connect_unix(example.socket()).is_ok_and(|mut client| client.ping().is_ok()) {
        thread::sleep(Duration::from_millis(1));
    }
    example
}

impl Example {
    /// Where it listens.
    pub fn url(&self) -> String {
        format!("dipc://127.0.0.1:{}", self.port())
    }

    /// Its port: an instance lives in a directory of this name.
    pub fn port(&self) -> u16 {
        let names = fs::read_dir(&self.directory).expect("it is ours").flatten();
        names.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).next().expect("a server")
    }

    /// Its Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.join("socket")
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}
