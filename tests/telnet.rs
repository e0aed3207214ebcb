//! The telnet program on a terminal, at the text port and at the classic port.

use std::process::Command;

use dipc_testkit::program;
use dipc_testkit::server::Server;
use dipc_testkit::terminal::Terminal;

/// Types at a telnet prompt, and expects what telnet shows.
fn type_at(port: u16, steps: &[(&str, &str)]) {
    let Some(telnet) = program::find("telnet") else { return };
    let mut command = Command::new(telnet);
    command.args(["127.0.0.1", &port.to_string()]);
    let mut terminal = Terminal::run(&command);
    terminal.expect("Escape character is");
    for (keys, shown) in steps {
        terminal.press(keys);
        terminal.expect(shown);
    }
    terminal.press("q\r");
    terminal.expect("Connection closed by foreign host.");
}

/// After Ctrl-C telnet asks for a timing mark, and showed nothing until the server answered.
#[test]
fn telnet_shows_every_answer() {
    let server = Server::start("4 64 0 8 --classic 0");
    let steps = [
        ("w 3\rhello\r", "OK v=1\r\n"),
        ("r 3\r", "DATA 5 v=1 n=1\r\nhello\r\n"),
        ("\x03", "^C"),
        ("ping\r", "OK\r\n"),
        ("\x04", "ERR syntax : Ctrl-D does not leave, q does\r\n"),
        ("exit\r", "ERR verb : unknown verb \"exit\": q leaves, try help\r\n"),
        ("HELP\r", "ERR verb : unknown verb \"HELP\": verbs are lower case, try help\r\n"),
        ("help\r", "the newest message"),
    ];
    type_at(server.port, &steps);
}

#[test]
fn telnet_at_the_classic_port_shows_the_data_alone() {
    let server = Server::start("4 64 0 8 --classic 0");
    let steps = [
        ("w 3 hello\r", "OK v=1\r\n"),
        ("r 3\r", "r 3\r\nhello\r\n"),
        ("\x03", "^C"),
        ("r3\r", "r3\r\nhello\r\n"),
        ("\x04", "ERR syntax : Ctrl-D does not leave, q does\r\n"),
        ("help\r", "w3, and the text behind it: write."),
    ];
    type_at(server.classic.expect("a classic port"), &steps);
}
