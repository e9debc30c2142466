//! The picture: what each thing costs with more sessions, against what it costs with the fewest.

use std::path::Path;

use anyhow::Context as _;
use plotters::prelude::{
    BLACK, ChartBuilder, Circle, Color as _, IntoDrawingArea as _, IntoLogRange as _, LineSeries,
    PathElement, RGBColor, SVGBackend, SeriesLabelPosition, WHITE,
};

use super::Size;
use super::figure::count;

const PIXELS: (u32, u32) = (960, 560);

/// What is shown: a name, a colour that colour-blind people can tell, a value.
type Curve = (&'static str, RGBColor, fn(&Size) -> f64);

const CURVES: [Curve; 4] = [
    ("CPU time of an append", RGBColor(0, 114, 178), |s| {
        s.append_us
    }),
    ("CPU time of a context read", RGBColor(0, 158, 115), |s| {
        s.read_us
    }),
    ("memory for a session", RGBColor(213, 94, 0), |s| {
        s.memory_bytes
    }),
    ("time to flush a message", RGBColor(204, 121, 167), |s| {
        1.0 / s.flushed_per_s
    }),
];

/// Draws the rows into a file.
///
/// # Errors
/// There are fewer than two rows, or the file cannot be written.
pub fn draw(sizes: &[Size], path: &Path) -> anyhow::Result<()> {
    let mut svg = String::new();
    picture(sizes, &mut svg).context("cannot draw the plot")?;
    std::fs::write(path, svg).with_context(|| format!("cannot write {}", path.display()))
}

fn sessions(size: &Size) -> f64 {
    count(size.sessions as u64)
}

/// A curve: each size's value as a multiple of the first one's.
fn points(sizes: &[Size], value: fn(&Size) -> f64) -> Vec<(f64, f64)> {
    let first = sizes.first().map_or(1.0, value);
    sizes
        .iter()
        .map(|size| (sessions(size), value(size) / first))
        .collect()
}

fn picture(sizes: &[Size], svg: &mut String) -> anyhow::Result<()> {
    let [first, .., last] = sizes else {
        anyhow::bail!("a plot needs two sizes at least");
    };
    let all = CURVES
        .iter()
        .flat_map(|(_, _, value)| points(sizes, *value));
    let highest = all.map(|(_, y)| y).fold(1.5, f64::max);
    let area = SVGBackend::with_string(svg, PIXELS).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(
            format!(
                "Cost against the number of sessions; {:.0} = 1",
                sessions(first)
            ),
            ("sans-serif", 20),
        )
        .margin(16)
        // Half of the last label.
        .margin_right(48)
        .x_label_area_size(48)
        .y_label_area_size(64)
        .build_cartesian_2d(
            (sessions(first)..sessions(last)).log_scale(),
            0.0..highest * 1.2,
        )?;
    chart
        .configure_mesh()
        .x_desc("sessions, all hot")
        .y_desc("times as much")
        .x_label_formatter(&|v| format!("{v:.0}"))
        .y_label_formatter(&|v| format!("{v:.1}"))
        .axis_desc_style(("sans-serif", 16))
        .label_style(("sans-serif", 14))
        .light_line_style(RGBColor(238, 238, 238))
        .draw()?;
    for (name, colour, value) in CURVES {
        let points = points(sizes, value);
        chart
            .draw_series(LineSeries::new(
                points.iter().copied(),
                colour.stroke_width(2),
            ))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 24, y)], colour.stroke_width(2)));
        chart.draw_series(points.iter().map(|p| Circle::new(*p, 3, colour.filled())))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.4))
        .label_font(("sans-serif", 15))
        .draw()?;
    area.present()?;
    drop(chart);
    Ok(())
}
