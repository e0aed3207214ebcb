//! The options of every command, and the server's address that they specify.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args};
use dipc::client::Address;

use super::duration::positive;
use crate::failure::Failure;

const HOST: &str = "127.0.0.1";
const PORT: u16 = 5000;

/// The options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Connection {
    /// The server's host [default: from the URL, or 127.0.0.1]
    #[arg(short = 'H', long, global = true, value_name = "HOST", conflicts_with = "socket")]
    pub host: Option<String>,

    /// The server's port [default: from the URL, or 5000]
    #[arg(short, long, global = true, value_name = "PORT", conflicts_with = "socket",
          value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,

    /// The server's Unix socket
    #[arg(short, long, global = true, value_name = "UNIX_SOCKET")]
    pub socket: Option<PathBuf>,

    /// dipc://host:port or dipc+unix:///path [default: environment variable DIPC_URL]
    #[arg(long, global = true, value_name = "URL")]
    pub url: Option<Address>,

    /// Longest silence of the server during a request, in seconds; has to exceed every --wait [default: no
    /// limit]
    #[arg(long, global = true, value_name = "S", value_parser = positive)]
    pub timeout: Option<Duration>,

    /// Print JSON: one object for each answer or message; data that is not UTF-8 as "base64"
    #[arg(long, global = true)]
    pub json: bool,

    /// Print the version after read, write, put, take and edit, and the number of messages, to standard error
    #[arg(short, long, global = true, alias = "info")]
    pub verbose: bool,

    /// Print help
    #[arg(short, long, global = true, action = ArgAction::Help)]
    help: Option<bool>,
}

impl Connection {
    /// The server's address. The other options take precedence over the URL.
    pub(crate) fn address(&self) -> Result<Address, Failure> {
        self.address_of(PORT, true)
    }

    /// The server's address with this default port. `by_url`: whether the URL is used. A URL is
    /// always the address of a dipc server.
    pub(crate) fn address_of(&self, port: u16, by_url: bool) -> Result<Address, Failure> {
        if let Some(path) = &self.socket {
            return Ok(Address::Unix(path.clone()));
        }
        let (host, port) = match if by_url { self.url()? } else { None } {
            Some(Address::Tcp { host, port }) => (host, port),
            Some(unix) if self.host.is_none() && self.port.is_none() => return Ok(unix),
            _ => (HOST.to_owned(), port),
        };
        let named = self.host.as_ref().map(|host| {
            // An IPv6 address may be in brackets, as in a URL.
            let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
            address.unwrap_or(host).to_owned()
        });
        Ok(Address::Tcp { host: named.unwrap_or(host), port: self.port.unwrap_or(port) })
    }

    /// The URL, if there is one. DIPC_URL is parsed only if it is needed, so that an invalid DIPC_URL does
    /// not affect other commands. An empty DIPC_URL is ignored.
    fn url(&self) -> Result<Option<Address>, Failure> {
        let named = std::env::var_os("DIPC_URL").filter(|url| !url.is_empty());
        match (&self.url, &self.host, &self.port) {
            (Some(url), ..) => Ok(Some(url.clone())),
            (None, Some(_), Some(_)) => Ok(None),
            _ => {
                let parsed = named.map(|url| url.to_string_lossy().parse()).transpose();
                parsed.map_err(|why: String| Failure::Usage(format!("DIPC_URL: {why}")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::options::Cli;

    #[test]
    fn the_command_line_takes_precedence_over_the_url() {
        let address = |line: &str| {
            let cli = Cli::parse_from(["dipc-cli"].into_iter().chain(line.split(' ')));
            cli.connection.address().expect("an address").to_string()
        };
        assert_eq!(address("-H else -p 6000 ping"), "dipc://else:6000");
        assert_eq!(address("ping -H else --url dipc://where:7000"), "dipc://else:7000");
        assert_eq!(address("-H [::1] -p 6000 ping"), "dipc://[::1]:6000");
        assert_eq!(address("--url dipc+unix:///a ping"), "dipc+unix:///a");
        assert_eq!(address("--url dipc+unix:///a ping -p 6000"), "dipc://127.0.0.1:6000");
        assert_eq!(address("--url dipc://where:7000 -s /b ping"), "dipc+unix:///b");
    }
}
