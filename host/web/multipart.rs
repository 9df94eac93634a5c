//! The parts of a form that brings a file, as browsers send it. The body is in memory already, and nothing of it is copied.

use super::problem::Problem;

/// Parts of one form.
const MAX_PARTS: usize = 16;

/// The parts of a form, by their names.
#[derive(Debug)]
pub(super) struct Parts<'b>(Vec<(String, &'b [u8])>);

impl<'b> Parts<'b> {
    /// Takes a body apart at the boundary that its content type names.
    ///
    /// # Errors
    /// When it is no such body.
    pub(super) fn of(content_type: &str, body: &'b [u8]) -> Result<Self, Problem> {
        let wrong = || Problem::bad("that is no form with a file");
        let boundary = content_type
            .strip_prefix("multipart/form-data")
            .and_then(|rest| rest.split_once("boundary="))
            .map(|(_, boundary)| boundary.split(';').next().unwrap_or_default().trim_matches('"'))
            .filter(|boundary| (1..=70).contains(&boundary.len()))
            .ok_or_else(wrong)?;
        let border = format!("\r\n--{boundary}");
        // The first border has no line end before it.
        let mut rest = body.strip_prefix(&border.as_bytes()[2..]).ok_or_else(wrong)?;
        let mut parts = Vec::new();
        while let Some(part) = rest.strip_prefix(b"\r\n") {
            let end = find(part, border.as_bytes()).ok_or_else(wrong)?;
            let head = find(&part[..end], b"\r\n\r\n").ok_or_else(wrong)?;
            let name = name(&part[..head]).ok_or_else(wrong)?;
            if parts.len() == MAX_PARTS {
                return Err(wrong());
            }
            parts.push((name, &part[head + 4..end]));
            rest = &part[end + border.len()..];
        }
        if rest.starts_with(b"--") {
            Ok(Self(parts))
        } else {
            Err(wrong())
        }
    }

    /// The bytes of a part; none if it is not there or empty, as that of a file which nobody chose.
    pub(super) fn get(&self, name: &str) -> Option<&'b [u8]> {
        let part = self.0.iter().find(|(of, _)| of == name);
        part.map(|(_, bytes)| *bytes).filter(|bytes| !bytes.is_empty())
    }

    /// The text of a part.
    pub(super) fn text(&self, name: &str) -> Option<&'b str> {
        self.get(name).and_then(|bytes| str::from_utf8(bytes).ok())
    }
}

/// The name in the head of a part.
fn name(head: &[u8]) -> Option<String> {
    let head = str::from_utf8(head).ok()?;
    let line = head
        .lines()
        .find(|line| line.to_ascii_lowercase().starts_with("content-disposition:"))?;
    let (_, rest) = line.split_once(" name=\"")?;
    Some(rest.split_once('"')?.0.to_owned())
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    let first = *what.first()?;
    let mut from = 0;
    while let Some(next) = text[from..].iter().position(|byte| *byte == first) {
        let at = from + next;
        if text[at..].starts_with(what) {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &str = "multipart/form-data; boundary=----x";

    #[test]
    fn a_form_with_a_file_is_taken_apart_byte_for_byte() {
        let body = b"------x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wasm\"\r\nContent-Type: application/wasm\r\n\r\n\0asm\r\n--\xff\r\n------x\r\ncontent-disposition: form-data; name=\"egress\"\r\n\r\non\r\n------x\r\nContent-Disposition: form-data; name=\"none\"\r\n\r\n\r\n------x--\r\n";
        let parts = Parts::of(TYPE, body).unwrap();
        assert_eq!(parts.get("file").unwrap(), b"\0asm\r\n--\xff");
        assert_eq!((parts.text("egress"), parts.get("none")), (Some("on"), None));
    }

    #[test]
    fn what_is_cut_off_or_is_no_such_form_is_refused() {
        for body in [
            &b""[..],
            b"------x",
            b"------x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nb",
            b"------x\r\n\r\n\r\n------x--",
            b"------x\r\nno colon\r\n\r\nb\r\n------x--",
        ] {
            assert!(Parts::of(TYPE, body).is_err(), "{body:?}");
        }
        assert!(Parts::of("multipart/form-data", b"------x--").is_err());
        assert!(Parts::of("text/plain; boundary=----x", b"------x--").is_err());
    }
}
