//! A picture of grouped horizontal bars, as SVG that is readable on a light and on a dark background and on a phone.

use std::fmt::Write as _;

use super::{Chart, Figures, IMAGES};
use crate::Result;

const WIDTH: f64 = 520.0;
/// The bars begin here, right of the names of the groups.
const LEFT: f64 = 64.0;
/// Room for the figure behind the longest bar.
const RIGHT: f64 = 56.0;
const BAR: f64 = 15.0;
const GAP: f64 = 12.0;
const LINE: f64 = 18.0;

const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#1f2328}.title{font-size:16px;font-weight:600}.small{font-size:12px}\
.back{fill:#fff}.grid{stroke:#d8dee4}@media(prefers-color-scheme:dark){text{fill:#e3e7eb}.back{fill:#15191e}.grid{stroke:#3a424b}}";

/// Draws a chart.
pub fn draw(chart: &Chart, figures: &Figures) -> Result<String> {
    let mut values = Vec::new();
    for image in IMAGES {
        let of = |(_, tool, _): &(&str, &str, &str)| figures.find(chart.task, image, tool, chart.field);
        values.push(chart.bars.iter().map(of).collect::<Result<Vec<f64>>>()?);
    }
    let most = values.iter().flatten().copied().fold(0.0, f64::max);
    let scale = (WIDTH - LEFT - RIGHT) / most;
    let top = 40.0 + LINE * chart.bars.len() as f64 + 8.0;
    let group = BAR * chart.bars.len() as f64 + GAP;
    let bottom = top + group * IMAGES.len() as f64;
    let height = bottom + 44.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
         role=\"img\">\n<title>{0}: {1}</title>\n<style>{STYLE}</style>\n<rect class=\"back\" width=\"100%\" height=\"100%\" rx=\"8\"/>\n\
         <text class=\"title\" x=\"14\" y=\"26\">{0}</text>\n",
        chart.title, chart.axis
    );
    add_legend(&mut svg, chart);
    let step = step(most);
    let ticks = (0..).map(|tick| f64::from(tick) * step).take_while(|tick| *tick <= most);
    for tick in ticks {
        let x = LEFT + tick * scale;
        let _ = writeln!(
            svg,
            "<path class=\"grid\" d=\"M{x:.1} {top}V{bottom}\"/><text class=\"small\" x=\"{x:.1}\" y=\"{:.1}\" \
             text-anchor=\"middle\">{tick}</text>",
            bottom + 15.0
        );
    }
    for ((at, image), values) in IMAGES.iter().enumerate().zip(&values) {
        let y = top + group * at as f64;
        let middle = y + (group - GAP) / 2.0 + 5.0;
        let _ = writeln!(svg, "<text x=\"14\" y=\"{middle:.1}\">{image}</text>");
        for ((bar, value), (_, _, colour)) in values.iter().enumerate().zip(chart.bars) {
            let (y, width) = (y + BAR * bar as f64, (value * scale).max(1.0));
            let end = LEFT + width + 5.0;
            let _ = writeln!(
                svg,
                "<rect x=\"{LEFT}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{:.1}\" fill=\"{colour}\"/>\
                 <text class=\"small\" x=\"{end:.1}\" y=\"{:.1}\">{}</text>",
                BAR - 1.0,
                y + BAR - 4.0,
                shown(*value)
            );
        }
    }
    let _ = writeln!(
        svg,
        "<text class=\"small\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\n</svg>",
        (LEFT + WIDTH - RIGHT) / 2.0,
        height - 10.0,
        chart.axis
    );
    Ok(svg)
}

fn add_legend(svg: &mut String, chart: &Chart) {
    for (at, (name, _, colour)) in chart.bars.iter().enumerate() {
        let y = 40.0 + LINE * at as f64;
        let _ = writeln!(
            svg,
            "<rect x=\"14\" y=\"{y:.1}\" width=\"12\" height=\"12\" rx=\"2\" fill=\"{colour}\"/>\
             <text class=\"small\" x=\"32\" y=\"{:.1}\">{name}</text>",
            y + 10.5
        );
    }
}

/// The distance of the ticks: 1, 2 or 5 times a power of ten, so that there are 3 to 7 ticks.
fn step(most: f64) -> f64 {
    let power = 10_f64.powf((most / 3.0).log10().floor());
    [5.0, 2.0, 1.0].into_iter().map(|factor| factor * power).find(|step| most / step >= 3.0).unwrap_or(power)
}

/// A figure behind a bar: two decimals below 10.
fn shown(value: f64) -> String {
    if value < 10.0 { format!("{value:.2}") } else { format!("{value:.1}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_few_round_ticks() {
        for most in [0.3, 0.99, 1.0, 2.84, 7.0, 25.54, 125.7, 1e6] {
            let step = step(most);
            assert!((2.9..7.6).contains(&(most / step)), "{most} {step}");
        }
        assert!((step(25.54) - 5.0).abs() < 1e-9 && (step(2.84) - 0.5).abs() < 1e-9);
    }
}
