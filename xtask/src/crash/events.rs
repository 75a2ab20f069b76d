//! The system calls in the output of `strace -f -y`.

/// A system call of a run.
#[derive(Clone, Debug)]
pub struct Event {
    /// The thread, as strace names it.
    pub thread: String,
    pub name: String,
    /// As strace prints them. A descriptor has its path in angle brackets.
    pub arguments: Vec<String>,
    pub result: String,
    /// The numbers of the lines in which the call began and returned. They differ if calls of other threads are between
    /// them.
    pub begin: usize,
    pub end: usize,
    /// The call without its thread, for messages.
    pub line: String,
}

impl Event {
    /// False if the call returned an error, or did not return.
    pub fn has_succeeded(&self) -> bool {
        !self.result.is_empty() && !self.result.starts_with('-') && !self.result.starts_with('?')
    }

    /// The path of the descriptor at `index`, such as `3</path>`.
    pub fn descriptor(&self, index: usize) -> Option<&str> {
        let (_, path) = self.arguments.get(index)?.split_once('<')?;
        path.rsplit_once('>').map(|(path, _)| path)
    }

    /// The quoted path at `index`.
    pub fn path(&self, index: usize) -> Option<&str> {
        self.arguments.get(index)?.strip_prefix('"')?.strip_suffix('"')
    }

    /// The path that a descriptor of a folder and a name at `index` and the next one give.
    pub fn path_at(&self, index: usize) -> Option<String> {
        let folder = self.descriptor(index)?;
        match self.path(index + 1) {
            None => Some(folder.to_owned()),
            Some("" | ".") => Some(folder.to_owned()),
            Some(path) if path.starts_with('/') => Some(path.to_owned()),
            Some(name) => Some(format!("{folder}/{name}")),
        }
    }

    /// The first path in the arguments that is below a folder.
    pub fn first_path(&self, below: &str) -> Option<&str> {
        // The first argument of a symlink is its text, which is no path that the call uses.
        let first = usize::from(self.name.starts_with("symlink"));
        let paths =
            (first..self.arguments.len()).filter_map(|index| self.path(index).or_else(|| self.descriptor(index)));
        let mut paths = paths.filter(|path| path.strip_prefix(below).is_some_and(|rest| rest.starts_with('/')));
        paths.next()
    }
}

/// Reads lines `THREAD CALL(ARGUMENTS) = RESULT`, in the order in which the calls began. A call during which another
/// thread made one is in two lines, which are put together.
pub fn read(log: &str) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    for (number, line) in log.lines().enumerate() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        if let Some(rest) = rest.strip_prefix("<... ") {
            let open = events.iter_mut().rev().find(|event| event.thread == thread && event.result.is_empty());
            if let (Some(event), Some((_, tail))) = (open, rest.split_once(" resumed>")) {
                event.line += tail;
                event.end = number;
                complete(event);
            }
            continue;
        }
        let Some((name, _)) = rest.split_once('(') else { continue };
        if !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            continue;
        }
        let line = rest.strip_suffix("<unfinished ...>").map_or(rest, str::trim_end).to_owned();
        let (thread, name) = (thread.to_owned(), name.to_owned());
        let mut event =
            Event { thread, name, arguments: Vec::new(), result: String::new(), begin: number, end: number, line };
        complete(&mut event);
        events.push(event);
    }
    events
}

/// Reads the arguments and the result from the line of a call.
fn complete(event: &mut Event) {
    let Some((_, text)) = event.line.split_once('(') else { return };
    let (arguments, rest) = split(text);
    event.arguments = arguments;
    event.result = rest.split_once("= ").map_or("", |(_, result)| result).to_owned();
}

/// Splits arguments at their commas up to the closing parenthesis. Returns them and the text after it.
fn split(text: &str) -> (Vec<String>, &str) {
    let (mut arguments, mut argument) = (Vec::new(), String::new());
    let (mut depth, mut is_quoted, mut is_escaped) = (0, false, false);
    for (position, character) in text.char_indices() {
        if is_quoted {
            is_quoted = is_escaped || character != '"';
            is_escaped = !is_escaped && character == '\\';
        } else {
            match character {
                '"' => is_quoted = true,
                ')' if depth == 0 => {
                    arguments.push(argument.trim().to_owned());
                    return (arguments, &text[position + 1..]);
                }
                '(' | '[' | '{' => depth += 1,
                ')' | ']' | '}' => depth -= 1,
                ',' if depth == 0 => {
                    arguments.push(std::mem::take(&mut argument).trim().to_owned());
                    continue;
                }
                _ => {}
            }
        }
        argument.push(character);
    }
    arguments.push(argument.trim().to_owned());
    (arguments, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_paths_and_results() {
        let log = "7  mkdirat(4</t>, \"a, (b\\\"\", 0700) = 0\n7  write(5</t/x>, \"}\\\\\"..., 9) = 9\n\
                   7  --- SIGCHLD {} ---\n7  unlink(\"/t/x\") = -1 ENOENT (No such file or directory)\n";
        let events = read(log);
        assert_eq!(events.len(), 3);
        assert_eq!(events[0].path_at(0).unwrap(), "/t/a, (b\\\"");
        assert_eq!(events[0].arguments[2], "0700");
        assert_eq!(events[1].descriptor(0), Some("/t/x"));
        assert_eq!(events[1].first_path("/t"), Some("/t/x"));
        assert_eq!(events[1].first_path("/t/x"), None);
        assert!(events[1].has_succeeded());
        assert!(!events[2].has_succeeded());
    }

    #[test]
    fn puts_the_two_lines_of_a_call_together() {
        let log = "7 fsync(3</a> <unfinished ...>\n8 fsync(4</b>) = 0\n7 <... fsync resumed>) = 0\n";
        let events = read(log);
        assert_eq!(events.len(), 2);
        assert_eq!((events[0].begin, events[0].end, events[0].descriptor(0)), (0, 2, Some("/a")));
        assert!(events[0].has_succeeded());
        assert_eq!((events[1].begin, events[1].end), (1, 1));
    }
}
