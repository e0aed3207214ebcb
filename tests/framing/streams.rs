//! Streams of requests with the answers that they get.

use crate::{Stream, stream};

pub(crate) fn good_streams() -> Vec<Stream> {
    let conflict = "w 3 5 if=18446744073709551615\nhello\nping\n";
    vec![
        stream("w 3\nhello\nr 3\nq\nw 3\nno\n", "OK v=+1\nDATA 5 v=+1 n=1\nhello\n", &[b"hello"]),
        stream("w 3\r\nhi\r\nr 3\r\nq\r\n", "OK v=+1\r\nDATA 2 v=+1 n=1\r\nhi\r\n", &[b"hi"]),
        stream("write 3 5\nhello\nread 3\nquit 3\n", "OK v=+1\nDATA 5 v=+1 n=1\nhello\n", &[b"hello"]),
        stream("w 3 5\r\na\r\nb\n\r\nr 3\n", "OK v=+1\r\nDATA 5 v=+1 n=1\na\r\nb\n\n", &[b"a\r\nb\n"]),
        stream("w 3 1\n\n\nw 3 1\r\n\r\r\n", "OK v=+1\nOK v=+2\r\n", &[b"\n", b"\r"]),
        stream("w 3 0\n\nw 3 0\r\n\r\nr 3\n", "OK v=+1\nOK v=+2\r\nDATA 0 v=+2 n=1\n\n", &[b"", b""]),
        stream("w 3 0005\nhello\nping\n", "OK v=+1\nOK\n", &[b"hello"]),
        stream("w 3\nhello\nw 3\nhi\nping\n", "OK v=+1\nOK v=+2\nOK\n", &[b"hello", b"hi"]),
        stream("w 3\n\nr 3\n", "OK v=+1\nDATA 0 v=+1 n=1\n\n", &[b""]),
        stream("w 3\na\rb\r\r\nping\n", "OK v=+1\nOK\n", &[b"a\rb\r"]),
        stream("w 3 6\nr 3\nq\n\nr 3\n", "OK v=+1\nDATA 6 v=+1 n=1\nr 3\nq\n\n", &[b"r 3\nq\n"]),
        stream("w 3\nr 3\nr 3\n", "OK v=+1\nDATA 3 v=+1 n=1\nr 3\n", &[b"r 3"]),
        stream(
            "w 3 2\r\nab\nr 3\nw 3 2\ncd\r\n",
            "OK v=+1\r\nDATA 2 v=+1 n=1\nab\nOK v=+2\n",
            &[b"ab", b"cd"],
        ),
        stream(b"w 3 4\n\0\xff\xf4\x80\nping\n", "OK v=+1\nOK\n", &[b"\0\xff\xf4\x80"]),
        stream(conflict, "NO conflict v=+0\nOK\n", &[]),
        stream("\n\r\n\nping\n\r\nping\r\n\n", "OK\nOK\r\n", &[]),
        // The answers of telnet: IAC DONT, IAC WONT.
        stream(
            b"\xff\xfb\x1f\xff\xfd\x03ping\r\n\xff\xf4\xff\xfd\x06ping\r\n",
            r"\xff\xfe\x1f\xff\xfc\x03OK[\xff\xfc\x06OK[".replace('[', "\r\n").as_str(),
            &[],
        ),
        stream(
            b"\xff\xf1ping\r\0w 3\r\0hi\r\0w 3 3\r\0a\0b\r\0",
            "OK\r\nOK v=+1\r\nOK v=+2\r\n",
            &[b"hi", b"a\0b"],
        ),
        stream(b"\xff\xfa\x18\0vt\n\xff\xf0w 3\r\nhi\r\n", "OK v=+1\r\n", &[b"hi"]),
        // The end of input completes a request that lacks only its end of line.
        stream("ping", "OK\n", &[]),
        stream("w 3\nhello", "OK v=+1\n", &[b"hello"]),
        stream("w 3\r\nhello\r", "OK v=+1\r\n", &[b"hello"]),
        stream("w 3 5\nhello", "OK v=+1\n", &[b"hello"]),
        stream("w 3 6\nhello\n", "OK v=+1\n", &[b"hello\n"]),
        stream("w 99\nhello", "ERR box max=3 ..\n", &[]),
    ]
}

pub(crate) fn refused_streams() -> Vec<Stream> {
    let read = "r 9\nr 3 off=1 off=2\nraed 3\nping you\nr 3 off=x\nR 3\nping\n";
    let refused =
        "ERR box max=3 ..\nERR syntax ..\nERR verb ..\nERR syntax ..\nERR syntax ..\nERR verb ..\nOK\n";
    vec![
        stream(read, refused, &[]),
        stream("w 99 5\nping\n\nping\n", "ERR box max=3 ..\nOK\n", &[]),
        stream("w 99 4\r\nping\r\nping\n", "ERR box max=3 ..\r\nOK\n", &[]),
        stream("w 99 0\n\nping\n", "ERR box max=3 ..\nOK\n", &[]),
        stream("w 99\nping\nping\r\n", "ERR box max=3 ..\nOK\r\n", &[]),
        stream("w\nping\nping\n", "ERR box max=3 ..\nOK\n", &[]),
        stream("w 3 5 foo=1\nping\n\nping\n", "ERR syntax ..\nOK\n", &[]),
        stream("w 3 5 6\nping\n\nping\n", "ERR syntax ..\nOK\n", &[]),
        stream("w wait=x 3 5\nping\n\nping\n", "ERR syntax ..\nOK\n", &[]),
        stream("w foo=1 3\nping\nw 3\nhi\n", "ERR syntax ..\nOK v=+1\n", &[b"hi"]),
        stream(b"r \x01 3\nping\n", "ERR syntax ..\nOK\n", &[]),
    ]
}

pub(crate) fn closing_streams() -> Vec<Stream> {
    let seven = "ERR verb ..\n".repeat(7);
    let eight = format!("{seven}ERR frame ..\n");
    let recovered = format!("{seven}OK\nERR verb ..\nOK\n");
    vec![
        stream("w 3 five\nw 3\nno\n", "ERR frame ..\n", &[]),
        stream("w 3 -1\r\nw 3\r\nno\r\n", "ERR frame ..\r\n", &[]),
        stream("w 99 5x\nw 3\nno\n", "ERR frame ..\n", &[]),
        stream(b"w 3 \x01\nw 3\nno\n", "ERR frame ..\n", &[]),
        stream("w 3 5\nhelloo\nw 3\nno\n", "ERR frame ..\n", &[]),
        stream("w 3 5\nhell\nw 3\nno\n", "ERR frame ..\n", &[]),
        stream("w 3 5\r\nhello\rw 3\nno\n", "ERR frame ..\r\n", &[]),
        stream("w 3 0\nw 3\nno\n", "ERR frame ..\n", &[]),
        stream("w 99 5\nhelloo\nw 3\nno\n", "ERR frame ..\n", &[]),
        stream("w 3\nhi\nw 3 2\nhello\nw 3\nno\n", "OK v=+1\nERR frame ..\n", &[b"hi"]),
        stream("w 3 1048577\nw 3\nno\n", "ERR size max=8192 ..\n", &[]),
        stream("w 99 99999999999999999999\nw 3\nno\n", "ERR size max=8192 ..\n", &[]),
        stream("\rping\nw 3\nno\n", "ERR frame ..\n", &[]),
        stream("\tping\nw 3\nno\n", "ERR frame ..\n", &[]),
        stream(b"\0\nw 3\nno\n", "ERR frame ..\n", &[]),
        stream("a\nb\nc\nd\ne\nf\n\ng\nh\nw 3\nno\n", &eight, &[]),
        stream("a\nb\nc\nd\ne\nf\ng\nping\nh\nping\n", &recovered, &[]),
        stream("ping\nGET / HTTP/1.1\r\n\r\nw 3\nno\n", "OK\n", &[]),
        stream("Host: x\r\nw 3\nno\n", "", &[]),
        stream("SSH-2.0-x\r\nw 3\nno\n", "", &[]),
        stream("*1\r\n$4\r\nPING\r\nw 3\nno\n", "", &[]),
        stream(b"\x16\x03\x01\nw 3\nno\n", "ERR frame ..\n", &[]),
    ]
}

pub(crate) fn all_streams() -> Vec<Stream> {
    [good_streams(), refused_streams(), closing_streams()].into_iter().flatten().collect()
}
