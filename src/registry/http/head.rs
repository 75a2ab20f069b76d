//! Makes the heads of responses acceptable to ureq, which refuses a response for one odd byte in any header: replaces
//! control characters in header values, and line breaks before continuation lines, by spaces. RFC 9110, section 5.5, and
//! RFC 9112, section 5.2, have clients do that. The length of a head does not change, so its limit stays the same.

use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};

type Result<T> = std::result::Result<T, ureq::Error>;

/// Headers that stay as they are, so that an odd byte in them is an error: they decide where the body ends, what it is, or
/// where the next request goes, and programs on the way may have read them differently.
const STRICT: [&str; 5] = ["connection", "content-encoding", "content-length", "location", "transfer-encoding"];

/// Wraps the connections of the earlier connectors in the chain.
#[derive(Debug)]
pub(crate) struct HeadConnector {
    /// True if connections go through a proxy. ureq runs the chain of connectors first for the connection to the proxy,
    /// without the proxy in its configuration, and then for the connection through it. The first one carries TLS records,
    /// which must not be changed.
    pub(crate) has_proxy: bool,
}

impl<In: Transport> Connector<In> for HeadConnector {
    type Out = HeadTransport<In>;

    fn connect(&self, details: &ConnectionDetails, chained: Option<In>) -> Result<Option<Self::Out>> {
        let is_to_proxy = self.has_proxy && details.config.proxy().is_none();
        Ok(chained.map(|inner| HeadTransport { inner, has_heads: !is_to_proxy, is_head: false }))
    }
}

/// A connection that cleans the head of each response.
#[derive(Debug)]
pub(crate) struct HeadTransport<In> {
    inner: In,
    /// False if the responses on this connection are not heads in the clear.
    has_heads: bool,
    /// True from a request to the end of the head of its response.
    is_head: bool,
}

impl<In: Transport> HeadTransport<In> {
    /// Cleans the head in the input buffer. ureq parses it from its start after each read until it is complete.
    fn clean(&mut self) {
        let buffers = self.inner.buffers();
        let mut odd = Vec::new();
        self.is_head = !scan(buffers.input(), &mut |position| odd.push(position));
        if odd.is_empty() {
            return;
        }
        let mut input = buffers.input().to_vec();
        for position in odd {
            if let Some(byte) = input.get_mut(position) {
                *byte = b' ';
            }
        }
        // The buffer can only be appended to, so its content is taken out and put back.
        buffers.input_consume(input.len());
        if let Some(free) = buffers.input_append_buf().get_mut(..input.len()) {
            free.copy_from_slice(&input);
            buffers.input_appended(input.len());
        }
        // This marks the input as unused, as it was before.
        buffers.input_consume(0);
    }
}

impl<In: Transport> Transport for HeadTransport<In> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<()> {
        self.is_head = self.has_heads;
        self.inner.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool> {
        let has_input = self.inner.await_input(timeout)?;
        if self.is_head {
            self.clean();
        }
        Ok(has_input)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}

/// Calls `replace` with the position of each byte to replace. Returns true if the input has the whole head of a response
/// that is not an interim one (1xx), which another head follows.
fn scan(input: &[u8], replace: &mut dyn FnMut(usize)) -> bool {
    let (mut next, mut is_first_line, mut is_interim, mut is_lenient) = (0, true, false, false);
    for line in input.split_inclusive(|byte| *byte == b'\n') {
        let start = next;
        next += line.len();
        if is_first_line {
            is_interim = line.get(8..10) == Some(b" 1");
            (is_first_line, is_lenient) = (false, false);
            continue;
        }
        if matches!(line, b"\r\n" | b"\n") {
            if !is_interim {
                return true;
            }
            is_first_line = true;
            continue;
        }
        let mut value_start = 0;
        if !line.starts_with(b" ") && !line.starts_with(b"\t") {
            // Without a colon the name may be incomplete.
            let name = line.iter().position(|byte| *byte == b':').and_then(|colon| line.get(..colon));
            let is_strict = |name: &[u8]| STRICT.iter().any(|strict| strict.as_bytes().eq_ignore_ascii_case(name));
            is_lenient = name.is_some_and(|name| !is_strict(name));
            value_start = name.map_or(0, <[u8]>::len);
        } else if is_lenient {
            replace(start - 1);
            if start > 1 && input.get(start - 2) == Some(&b'\r') {
                replace(start - 2);
            }
        }
        if is_lenient {
            for (at, byte) in line.iter().enumerate().skip(value_start) {
                if is_odd(*byte, line.get(at + 1)) {
                    replace(start + at);
                }
            }
        }
    }
    false
}

/// Returns true for a control character. A carriage return may belong to a line break, also if the rest has not arrived.
fn is_odd(byte: u8, next: Option<&u8>) -> bool {
    match byte {
        b'\t' | b'\n' => false,
        b'\r' => next.is_some_and(|next| *next != b'\n'),
        _ => byte.is_ascii_control(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clean(input: &str) -> (String, bool) {
        let mut bytes = input.as_bytes().to_vec();
        let is_complete = scan(input.as_bytes(), &mut |position| bytes[position] = b' ');
        (String::from_utf8_lossy(&bytes).into_owned(), is_complete)
    }

    #[test]
    fn replaces_control_characters_and_folds_in_headers_that_decide_nothing() {
        for (input, expected) in [
            ("Warning: a\u{1}b\0c\u{7f}d\te\r\n", "Warning: a b c d\te\r\n"),
            ("Warning: \u{e4}\r\n", "Warning: \u{e4}\r\n"),
            ("Warning: a\rb\r\r\n", "Warning: a b \r\n"),
            ("Warning: a\r\n\tb\r\n c\nX: y\r\n", "Warning: a  \tb   c\nX: y\r\n"),
            ("Warning: a\u{1}", "Warning: a "),
            ("Warning: a\r", "Warning: a\r"),
            ("War\u{1}ning", "War\u{1}ning"),
            ("War\u{1}ning: x\r\n", "War\u{1}ning: x\r\n"),
            ("Content-Length: 1\u{1}\r\n", "Content-Length: 1\u{1}\r\n"),
            ("Content-Length: 1\r\n 2\r\nX: \u{1}\r\n", "Content-Length: 1\r\n 2\r\nX:  \r\n"),
            ("TRANSFER-encoding: \u{1}chunked\r\n", "TRANSFER-encoding: \u{1}chunked\r\n"),
            ("Location: /a\0b\r\n", "Location: /a\0b\r\n"),
            (" folded: \u{1}\r\n", " folded: \u{1}\r\n"),
        ] {
            let head = |rest: &str| format!("HTTP/1.1 200 OK\r\n{rest}");
            assert_eq!(clean(&head(input)), (head(expected), false), "{input:?}");
        }
    }

    #[test]
    fn leaves_the_body_as_it_is() {
        for (input, expected, is_complete) in [
            ("HTTP/1.1 200 OK\r\nX: \u{1}\r\n\r\nY: \u{1}\r\n", "HTTP/1.1 200 OK\r\nX:  \r\n\r\nY: \u{1}\r\n", true),
            ("HTTP/1.1 200 OK\n\n\u{1}", "HTTP/1.1 200 OK\n\n\u{1}", true),
            ("HTTP/1.1 103 E\r\nX: \u{1}\r\n\r\n", "HTTP/1.1 103 E\r\nX:  \r\n\r\n", false),
            (
                "HTTP/1.1 103 E\r\n\r\nHTTP/1.1 200 OK\r\nX: \u{1}\r\n\r\nY: \u{1}\r\n",
                "HTTP/1.1 103 E\r\n\r\nHTTP/1.1 200 OK\r\nX:  \r\n\r\nY: \u{1}\r\n",
                true,
            ),
            ("", "", false),
            ("SSH-2.0\r\n", "SSH-2.0\r\n", false),
        ] {
            assert_eq!(clean(input), (expected.to_owned(), is_complete), "{input:?}");
        }
    }
}
