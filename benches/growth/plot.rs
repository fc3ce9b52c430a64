//! The samples as an SVG: a panel for each operation, a line for each number of upstreams.

use std::fmt::Write;

use crate::{
    TUNNELS, UPSTREAMS,
    measure::{Operation, Sample},
    series,
};

const WIDTH: f64 = 300.0;
const HEIGHT: f64 = 220.0;
/// Room around the lines of a panel: left, top, right, bottom.
const MARGINS: [f64; 4] = [48.0, 40.0, 16.0, 32.0];
const COLORS: [&str; 3] = ["#1b6ca8", "#c0392b", "#2e8b57"];
/// Both axes are logarithmic; time from a tenth of a microsecond to ten milliseconds.
const TIMES: (f64, f64) = (0.1, 10_000.0);

pub(crate) fn svg(samples: &[Sample]) -> String {
    let (columns, rows) = (3, Operation::ALL.len().div_ceil(3));
    let (width, height) = (WIDTH * columns as f64, HEIGHT * rows as f64 + 24.0);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    for (index, operation) in Operation::ALL.into_iter().enumerate() {
        let at = (
            WIDTH * (index % columns) as f64,
            HEIGHT * (index / columns) as f64,
        );
        panel(&mut text, at, operation, samples);
    }
    for (index, (upstreams, color)) in UPSTREAMS.iter().zip(COLORS).enumerate() {
        let (x, y) = (MARGINS[0] + 130.0 * index as f64, height - 8.0);
        let _ = writeln!(
            text,
            "<text x=\"{x}\" y=\"{y}\" fill=\"{color}\">{upstreams} upstreams</text>"
        );
    }
    text + "</svg>\n"
}

fn panel(text: &mut String, (left, top): (f64, f64), operation: Operation, samples: &[Sample]) {
    let _ = writeln!(text, "<g transform=\"translate({left},{top})\">");
    let _ = writeln!(
        text,
        "<text x=\"{}\" y=\"22\" font-weight=\"bold\">{}</text>",
        MARGINS[0],
        operation.name()
    );
    for tunnels in TUNNELS {
        let (x, bottom) = (x(tunnels), HEIGHT - MARGINS[3]);
        let _ = writeln!(
            text,
            "<path d=\"M{x:.1} {}V{bottom:.1}\" stroke=\"#ddd\"/>",
            MARGINS[1]
        );
        let _ = writeln!(
            text,
            "<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{tunnels}</text>",
            bottom + 14.0
        );
    }
    let mut time = TIMES.0;
    while time <= TIMES.1 {
        let y = y(time);
        let _ = writeln!(
            text,
            "<path d=\"M{} {y:.1}H{}\" stroke=\"#ddd\"/>",
            MARGINS[0],
            WIDTH - MARGINS[2]
        );
        let _ = writeln!(
            text,
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            MARGINS[0] - 4.0,
            y + 4.0,
            label(time)
        );
        time *= 10.0;
    }
    for (upstreams, color) in UPSTREAMS.into_iter().zip(COLORS) {
        let points = series(samples, operation, upstreams);
        let points: Vec<_> = points
            .map(|it| format!("{:.1},{:.1}", x(it.tunnels), y(it.micros)))
            .collect();
        let _ = writeln!(
            text,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2\"/>",
            points.join(" ")
        );
    }
    *text += "</g>\n";
}

fn label(micros: f64) -> String {
    match micros {
        ..1.0 => format!("{:.0} ns", micros * 1e3),
        ..1000.0 => format!("{micros:.0} µs"),
        _ => format!("{:.0} ms", micros / 1e3),
    }
}

fn x(tunnels: usize) -> f64 {
    let (first, last) = (TUNNELS[0] as f64, TUNNELS[TUNNELS.len() - 1] as f64);
    MARGINS[0] + share(tunnels as f64, first, last) * (WIDTH - MARGINS[0] - MARGINS[2])
}

fn y(micros: f64) -> f64 {
    let share = share(micros.clamp(TIMES.0, TIMES.1), TIMES.0, TIMES.1);
    HEIGHT - MARGINS[3] - share * (HEIGHT - MARGINS[1] - MARGINS[3])
}

fn share(value: f64, least: f64, greatest: f64) -> f64 {
    (value / least).ln() / (greatest / least).ln()
}
