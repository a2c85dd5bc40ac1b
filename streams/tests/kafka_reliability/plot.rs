//! Curves over time as an SVG picture.

use std::fmt::Write;

const WIDTH: f64 = 960.0;
const PANEL: f64 = 220.0;
const LEFT: f64 = 80.0;
const TOP: f64 = 40.0;
const GAP: f64 = 50.0;
const COLOURS: [&str; 4] = ["#1f77b4", "#d62728", "#2ca02c", "#9467bd"];

/// A panel: its title with the unit, and curves with names, each of (second, value).
pub struct Panel {
    pub title: String,
    pub curves: Vec<(String, Vec<(f64, f64)>)>,
}

/// The panels below each other, with the same time; `marks` are seconds at which something happened.
pub fn svg(heading: &str, panels: &[Panel], marks: &[f64]) -> String {
    let points = || panels.iter().flat_map(|panel| &panel.curves).flat_map(|(_, points)| points);
    let longest = points().map(|(second, _)| *second).fold(1.0, f64::max);
    let x = |second: f64| LEFT + second / longest * (WIDTH - LEFT - 20.0);
    let height = TOP + panels.len() as f64 * (PANEL + GAP);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<text x=\"{LEFT}\" y=\"20\" font-size=\"15\">{heading}</text>\n"
    );
    for (number, panel) in panels.iter().enumerate() {
        let top = TOP + number as f64 * (PANEL + GAP);
        let bottom = top + PANEL;
        let most = round_up(panel.curves.iter().flat_map(|(_, points)| points).map(|(_, value)| *value).fold(1.0, f64::max));
        let y = |value: f64| bottom - value / most * (PANEL - 20.0);
        let _ = writeln!(svg, "<text x=\"{LEFT}\" y=\"{}\">{}</text>", top + 10.0, panel.title);
        for step in 0..=4 {
            let value = most * f64::from(step) / 4.0;
            let at = y(value);
            let _ = writeln!(svg, "<path d=\"M{LEFT} {at:.1}H{}\" stroke=\"#ddd\"/>", WIDTH - 20.0);
            let _ = writeln!(svg, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{value}</text>", LEFT - 6.0, at + 4.0);
        }
        for mark in marks {
            let _ = writeln!(svg, "<path d=\"M{:.1} {:.1}V{bottom}\" stroke=\"#999\" stroke-dasharray=\"2 3\"/>", x(*mark), top + 20.0);
        }
        for (curve, (name, points)) in panel.curves.iter().enumerate() {
            let colour = COLOURS[curve % COLOURS.len()];
            let line: Vec<String> = points.iter().map(|(second, value)| format!("{:.1},{:.1}", x(*second), y(*value))).collect();
            let _ = writeln!(svg, "<polyline fill=\"none\" stroke=\"{colour}\" points=\"{}\"/>", line.join(" "));
            let _ =
                writeln!(svg, "<text x=\"{}\" y=\"{}\" fill=\"{colour}\">{name}</text>", LEFT + 300.0 + 160.0 * curve as f64, top + 10.0);
        }
        let minutes = (longest / 60.0).max(1.0).round() as u32;
        for minute in (0..=minutes).step_by((minutes as usize / 10).max(1)) {
            let at = x(f64::from(minute) * 60.0);
            if at <= WIDTH - 20.0 {
                let _ = writeln!(svg, "<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{minute} min</text>", bottom + 16.0);
            }
        }
    }
    svg.push_str("</svg>\n");
    svg
}

/// To 1, 2, 4 or 8 times a power of ten, so that a quarter of it is short to write.
fn round_up(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    [1.0, 2.0, 4.0, 8.0, 10.0].map(|step| step * power).into_iter().find(|step| *step >= value).unwrap_or(value)
}
