//! The block at the end of a terminal that is redrawn: a line for each active layer, and the total.

use super::transfer::{LayerProgress, Phase, Total, Transfer};
use crate::text;

/// The width of the bar of a layer.
const BAR: std::ops::RangeInclusive<usize> = 10..=40;
/// The least width of a total line that begins with a word.
const LEAST_TITLED: usize = 60;

/// The size of a terminal.
#[derive(Clone, Copy)]
pub(super) struct Size {
    pub(super) columns: usize,
    pub(super) rows: usize,
}

/// What is on the terminal: the widths of the lines of the block. The cursor is at the start of the last one.
#[derive(Default)]
pub(super) struct Block {
    widths: Vec<usize>,
}

impl Block {
    /// Removes the block. Returns the bytes for the terminal.
    pub(super) fn erase(&mut self, size: Size) -> String {
        // A terminal that has become narrower has wrapped the lines.
        let rows = |width: &usize| width.div_ceil(size.columns.max(1)).max(1);
        let above: usize = self.widths.iter().rev().skip(1).map(rows).sum();
        let is_drawn = !std::mem::take(&mut self.widths).is_empty();
        match above {
            _ if !is_drawn => String::new(),
            0 => "\r\x1b[J".to_owned(),
            above => format!("\r\x1b[{above}A\x1b[J"),
        }
    }

    /// Draws the block after it was removed. Returns the bytes for the terminal.
    pub(super) fn draw(&mut self, transfer: &Transfer, size: Size) -> String {
        let lines = lines(transfer, size);
        self.widths = lines.iter().map(String::len).collect();
        let mut text = lines.join("\n");
        if !lines.is_empty() {
            // What is typed at the terminal must not wrap a line.
            text.push('\r');
        }
        text
    }
}

/// The lines of the block, all in ASCII. They do not reach the last column, and leave the first row.
fn lines(transfer: &Transfer, size: Size) -> Vec<String> {
    if transfer.is_idle() {
        return Vec::new();
    }
    let width = size.columns.saturating_sub(1);
    let layers = transfer.active().take(size.rows.saturating_sub(2)).map(|layer| layer_line(layer, width));
    let mut lines: Vec<String> = layers.collect();
    lines.push(total_line(&transfer.total(), width));
    lines.iter_mut().for_each(|line| line.truncate(width));
    lines
}

/// A layer in the most words that fit.
fn layer_line(progress: &LayerProgress, width: usize) -> String {
    let (short, size, count) = (progress.layer.digest.short(), progress.layer.size, progress.bytes().unwrap_or(0));
    let phase = if matches!(progress.phase, Phase::Fetching(_)) { "Downloading" } else { "Extracting" };
    let line = format!("{short}: {phase:11} {:>13}", amount(count, Some(size).filter(|size| *size > 0)));
    let bar = (width.saturating_sub(line.len() + 3)).min(*BAR.end());
    if bar >= *BAR.start() {
        let done = share(count, size, bar as u64) as usize;
        let bar = format!("[{}>{}]", "=".repeat(done), " ".repeat(bar - 1 - done));
        return format!("{short}: {phase:11} {bar} {:>13}", amount(count, Some(size).filter(|size| *size > 0)));
    }
    if line.len() <= width { line } else { format!("{short} {:>3}%", share(count, size, 101)) }
}

/// The total in the most words that fit. The rate is the first to go.
pub(super) fn total_line(total: &Total, width: usize) -> String {
    let title = if width >= LEAST_TITLED { "Total: " } else { "" };
    let layers = format!("{title}{}/{} layers  ", total.layers_done, total.layers);
    let bytes = amount(total.bytes_done, total.bytes);
    let rate = total.rate.map_or(String::new(), |rate| format!("  {}/s", text::bytes(rate)));
    let left = time_left(total).map_or(String::new(), |left| format!("  {left} left"));
    for parts in [[layers.as_str(), &bytes, &rate, &left], [&layers, &bytes, "", &left], [&layers, &bytes, "", ""]] {
        let line = parts.concat();
        if line.len() <= width {
            return line;
        }
    }
    bytes
}

/// `12.3MB/45.6MB`.
fn amount(count: u64, total: Option<u64>) -> String {
    match total {
        Some(total) => format!("{}/{}", text::bytes(count), text::bytes(total)),
        None => text::bytes(count),
    }
}

/// The part of `steps` that `count` of `size` is, less than `steps`.
fn share(count: u64, size: u64, steps: u64) -> u64 {
    let share = u128::from(count) * u128::from(steps - 1) / u128::from(size.max(1));
    u64::try_from(share).unwrap_or(u64::MAX).min(steps - 1)
}

/// `15s`, `2m05s` or `1h02m`.
fn time_left(total: &Total) -> Option<String> {
    let rate = total.rate.filter(|rate| *rate > 0)?;
    let seconds = total.bytes?.saturating_sub(total.bytes_done).div_ceil(rate);
    Some(match seconds {
        ..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..360_000 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::transfer::tests::{fetch, planned};
    use super::*;

    const MB: u64 = 1_000_000;

    fn lines_at(transfer: &Transfer, columns: usize, rows: usize) -> Vec<String> {
        lines(transfer, Size { columns, rows })
    }

    #[test]
    fn no_line_reaches_the_last_column() {
        let mut transfer = planned(9, 6);
        for milliseconds in [0, 5000] {
            for index in 3..9 {
                fetch(&mut transfer, index, 4 * MB + milliseconds * 1000, milliseconds);
            }
            for columns in 1..=300 {
                for rows in 1..12 {
                    let lines = lines_at(&transfer, columns, rows);
                    assert_eq!(lines.len(), 7.min(rows - 1).max(1), "{columns}x{rows}");
                    assert!(
                        lines.iter().all(|line| line.len() < columns && line.is_ascii()),
                        "{columns}x{rows}: {lines:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn lines_have_the_most_words_that_fit() {
        let mut transfer = planned(3, 2);
        for (milliseconds, bytes) in [(0, 5), (2000, 7)] {
            fetch(&mut transfer, 1, bytes * MB, milliseconds);
        }
        for (columns, layer, total) in [
            (20, "6b86b273ff34  70%", "7MB/20MB"),
            (24, "6b86b273ff34  70%", "1/3 layers  7MB/20MB"),
            (40, "6b86b273ff34: Downloading      7MB/10MB", "1/3 layers  7MB/20MB  1MB/s  13s left"),
            (
                60,
                "6b86b273ff34: Downloading [===========>     ]      7MB/10MB",
                "1/3 layers  7MB/20MB  1MB/s  13s left",
            ),
            (
                200,
                "6b86b273ff34: Downloading [===========================>            ]      7MB/10MB",
                "Total: 1/3 layers  7MB/20MB  1MB/s  13s left",
            ),
        ] {
            assert_eq!(lines_at(&transfer, columns, 24), [layer, total], "{columns}");
        }
    }

    #[test]
    fn the_time_left_has_two_units() {
        let total = |bytes| Total { layers: 1, layers_done: 0, bytes_done: 0, bytes: Some(bytes), rate: Some(1) };
        for (seconds, words) in
            [(0, Some("0s")), (59, Some("59s")), (125, Some("2m05s")), (3720, Some("1h02m")), (360_000, None)]
        {
            assert_eq!(time_left(&total(seconds)).as_deref(), words);
        }
    }

    #[test]
    fn a_block_is_removed_also_from_a_terminal_that_has_wrapped_it() {
        let mut transfer = planned(3, 2);
        fetch(&mut transfer, 1, 5 * MB, 0);
        let size = |columns| Size { columns, rows: 24 };
        for (columns, expected) in [(80, "\r\x1b[1A\x1b[J"), (200, "\r\x1b[1A\x1b[J"), (30, "\r\x1b[3A\x1b[J")] {
            let mut block = Block::default();
            assert!(block.draw(&transfer, size(80)).ends_with('\r'));
            assert_eq!(block.erase(size(columns)), expected, "{columns}");
            assert_eq!(block.erase(size(columns)), "", "{columns}");
        }
    }
}
