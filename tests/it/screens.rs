//! The progress block on a real terminal, tmux: at several widths, during a resize, with one job and with several.
//!
//! The golden screens hold the shape: the bytes so far and the length of a bar depend on how the kernel cuts the stream.

use std::process::Command;
use std::time::Instant;

use crate::signals::until;
use kit::archive::file;
use kit::debian::program;
use kit::fault::on;
use kit::home::Home;
use kit::http::Latch;
use kit::image::{Image, Layer};
use kit::noise::noise;
use kit::registry::Registry;

/// A terminal in which pullet runs.
struct Terminal {
    socket: String,
}

impl Terminal {
    /// Runs pullet in a terminal of this size. What was on the screen at its end stays there.
    fn run(home: &Home, size: (usize, usize), variables: &[(&str, &str)], args: &[&str]) -> Terminal {
        let (columns, rows) = (size.0.to_string(), size.1.to_string());
        let conf =
            home.write("tmux.conf", "set -g remain-on-exit on\nset -g remain-on-exit-format ''\nset -g status off\n");
        let terminal = Terminal { socket: home.arg("tmux") };
        let tmux = program("tmux").display().to_string();
        let words = [&tmux, "-S", &terminal.socket, "-f", &conf, "new-session", "-d", "-x", &columns, "-y", &rows];
        let env = ["--".to_owned(), "env".to_owned()];
        let variables = variables.iter().map(|(name, value)| format!("{name}={value}"));
        let env: Vec<String> = env.into_iter().chain(variables).collect();
        home.pullet(args).under(&words).under(&env).run().exits(0);
        terminal
    }

    fn tmux(&self, words: &[&str]) -> String {
        let output = Command::new(program("tmux")).args(["-S", &self.socket]).args(words).output().unwrap();
        assert!(output.status.success(), "tmux {words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The screen without the empty lines at its end. A line of pullet that the terminal has wrapped is one line.
    fn screen(&self) -> String {
        let text = self.tmux(&["capture-pane", "-p", "-J"]);
        text.trim_end().lines().map(|line| format!("{}\n", line.trim_end())).collect()
    }

    /// Resizes the terminal, and waits until the programs in it see that: tmux puts a second resize off.
    fn resize(&self, columns: usize, rows: usize) {
        self.tmux(&["resize-window", "-x", &columns.to_string(), "-y", &rows.to_string()]);
        let tty = self.tmux(&["display-message", "-p", "#{pane_tty}"]);
        let size = || {
            let output = Command::new(program("stty")).args(["-F", tty.trim(), "size"]).output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        until("the new size", || size() == format!("{rows} {columns}\n"));
    }

    /// Waits until the masked screen is this one.
    fn shows(&self, case: &str, expected: &str) {
        let start = Instant::now();
        let mut screen = self.screen();
        while masked(&screen) != expected {
            assert!(start.elapsed().as_secs() < 30, "{case}:\n{}--- expected\n{expected}", masked(&screen));
            screen = self.screen();
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = Command::new(program("tmux")).args(["-S", &self.socket, "kill-server"]).output();
    }
}

/// A screen without what differs between two runs: the bytes so far, the length of bars, the rate and the time left, and which
/// layer became complete first.
fn masked(screen: &str) -> String {
    screen.lines().map(|line| format!("{}\n", masked_line(line))).collect()
}

fn masked_line(line: &str) -> String {
    if line.ends_with(": Pull complete") {
        return "#: Pull complete".to_owned();
    }
    let mut line = line.to_owned();
    if let (Some(start), Some(end)) = (line.find('['), line.find(']')) {
        line.replace_range(start + 1..end, &"-".repeat(end - start - 1));
    }
    if let Some(end) = line.find("B/") {
        let start = line[..end].trim_end_matches(|c: char| c.is_ascii_digit() || " .kM".contains(c)).len();
        let rest = line[end + 2..].split("  ").next().unwrap();
        line = format!("{} #/{rest}", &line[..start]);
    }
    if let Some((before, _)) = line.strip_suffix('%').and_then(|line| line.rsplit_once(' ')) {
        line = format!("{} #%", before.trim_end());
    }
    if let Some((_, rest)) = line.strip_prefix("hint: ").and_then(|line| line.split_once(" of ")) {
        line = format!("hint: # of {rest}");
    }
    line
}

/// An image of different layers of 300 kB that do not compress.
fn image(layers: usize) -> Image {
    Image::new((0..layers).map(|n| Layer::of(&[file(format!("{n}"), noise(300_000 + n))])).collect())
}

/// A registry that stops in the middle of the second and the third layer.
fn stalling(image: &Image) -> (Registry, String) {
    let registry = Registry::plain();
    let name = image.push(&registry, "app", "latest");
    for layer in &image.layers[1..3] {
        registry.fault(on(layer.digest()).stall(100_000));
    }
    (registry, name)
}

#[test]
fn the_block_fits_the_terminal_with_any_number_of_jobs() {
    let golden = include_str!("golden/screens.txt");
    let image = image(6);
    let mut screens = golden.split("== ").skip(1);
    for columns in [20, 40, 80, 200] {
        for (jobs, rows) in [("1", 24), ("4", 24), ("4", 3)] {
            let (_registry, name) = stalling(&image);
            let (case, expected) = screens.next().unwrap_or("\n").split_once('\n').unwrap();
            assert_eq!(case, format!("{columns} columns, {rows} rows, -j {jobs}"));
            let home = Home::new();
            let terminal = Terminal::run(&home, (columns, rows), &[], &["pull", "-j", jobs, &name]);
            terminal.shows(case, expected);
            for line in terminal.screen().lines().filter(|line| line.contains('/') || line.contains('%')) {
                assert!(line.len() < columns, "{case}: {line}");
            }
        }
    }
    assert_eq!(screens.next(), None);
}

#[test]
fn the_block_follows_the_size_of_the_terminal() {
    let image = image(6);
    let (registry, name) = stalling(&image);
    let latches = [Latch::default(), Latch::default()];
    for (layer, latch) in [&image.layers[0], &image.layers[3]].into_iter().zip(&latches) {
        registry.fault(on(layer.digest()).held(latch));
    }
    let home = Home::new();
    let mut screens = include_str!("golden/resized.txt").split("==\n").skip(1);
    let terminal = Terminal::run(&home, (200, 24), &[], &["pull", "-j", "4", &name]);
    terminal.shows("wide", screens.next().unwrap());
    terminal.resize(40, 24);
    latches[0].open();
    terminal.shows("narrow", screens.next().unwrap());
    terminal.resize(80, 24);
    latches[1].open();
    terminal.shows("wider", screens.next().unwrap());
}

#[test]
fn an_interrupted_pull_says_how_much_is_kept() {
    let image = image(4);
    let (_registry, name) = stalling(&image);
    let home = Home::new();
    let terminal = Terminal::run(&home, (200, 24), &[], &["pull", "-j", "4", &name]);
    let expected = include_str!("golden/interrupted.txt").replace("NAME", &name);
    let (before, after) = expected.split_once("==\n").unwrap();
    terminal.shows("before", before);
    terminal.tmux(&["send-keys", "C-c"]);
    terminal.shows("after", after);
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    for (variables, is_coloured) in
        [(&[][..], true), (&[("NO_COLOR", "1")][..], false), (&[("TERM", "dumb")][..], false)]
    {
        let home = Home::new();
        let terminal = Terminal::run(&home, (80, 24), variables, &["pull", "127.0.0.1:1/app"]);
        let start = Instant::now();
        while !terminal.screen().contains("pullet: ") {
            assert!(start.elapsed().as_secs() < 30, "{variables:?}: {}", terminal.screen());
        }
        assert_eq!(terminal.tmux(&["capture-pane", "-e", "-p"]).contains('\x1b'), is_coloured, "{variables:?}");
    }
}
