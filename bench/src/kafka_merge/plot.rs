//! A report as an SVG picture: below each other the figures, each with a bar for every client that has it.

use super::report::{Figure, Report};
use std::fmt::Write;

const WIDTH: f64 = 720.0;
/// Clients' names are left of it, the bars right.
const LEFT: f64 = 170.0;
/// For the value behind a bar.
const RIGHT: f64 = 80.0;
const BAR: f64 = 18.0;
const COLOURS: [&str; 5] = ["#999999", "#17becf", "#1f77b4", "#d62728", "#ff9896"];

pub fn svg(heading: &str, report: &Report) -> String {
    let mut bars = String::new();
    let mut y = 44.0;
    for figure in Figure::ALL {
        let medians = || report.roles().into_iter().enumerate().filter_map(|(n, role)| Some((n, role, report.median(role, figure)?)));
        let most = medians().map(|(.., value)| value).fold(f64::MIN_POSITIVE, f64::max);
        let better = if figure == Figure::Rate { "more" } else { "less" };
        let _ = writeln!(bars, "<text x=\"{LEFT}\" y=\"{y}\">{} ({better} is better)</text>", figure.title());
        y += 6.0;
        for (n, role, value) in medians() {
            let width = value / most * (WIDTH - LEFT - RIGHT);
            let (text, colour) = (y + BAR - 6.0, COLOURS[n % COLOURS.len()]);
            let _ = writeln!(bars, "<text x=\"{}\" y=\"{text}\" text-anchor=\"end\">{}</text>", LEFT - 6.0, role.title());
            let _ = writeln!(bars, "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{width:.1}\" height=\"{}\" fill=\"{colour}\"/>", BAR - 4.0);
            let _ = writeln!(bars, "<text x=\"{:.1}\" y=\"{text}\">{}</text>", LEFT + width + 6.0, figure.text(value));
            y += BAR;
        }
        y += 24.0;
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {y}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<text x=\"10\" y=\"20\" font-size=\"15\">{heading}</text>\n{bars}</svg>\n"
    )
}
