//! The picture: misses against residency, a curve for each policy.

use std::ops::Range;
use std::path::Path;

use anyhow::Context as _;
use plotters::prelude::{
    BLACK, ChartBuilder, Circle, Color as _, IntoDrawingArea as _, IntoLogRange as _, LineSeries,
    PathElement, RGBColor, SVGBackend, SeriesLabelPosition, Text, WHITE,
};
use plotters::style::IntoFont as _;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::rows::{Name, Row, Rows, float};
use super::table::short;
use crate::exit::Failed;

const SIZE: (u32, u32) = (960, 640);

/// Refuses what is no SVG file before anything is read.
pub(super) fn check(path: &Path) -> anyhow::Result<()> {
    if path
        .extension()
        .is_some_and(|end| end.eq_ignore_ascii_case("svg"))
    {
        return Ok(());
    }
    Err(Failed::usage(format!(
        "--plot: {} is not a name that ends in .svg",
        path.display()
    )))
}

const fn colour(name: Name) -> RGBColor {
    match name {
        Name::Fixed => RGBColor(60, 60, 60),
        Name::Economic => RGBColor(0, 114, 178),
        Name::Learned => RGBColor(0, 158, 115),
        Name::Ewma => RGBColor(213, 94, 0),
        Name::Oracle => RGBColor(204, 121, 167),
    }
}

const fn legend(name: Name) -> &'static str {
    match name {
        Name::Fixed => "fixed TTL",
        Name::Economic => "economic",
        Name::Learned => "learned",
        Name::Ewma => "k × EWMA (for comparison)",
        Name::Oracle => "oracle (bound)",
    }
}

/// Draws the rows into a file.
pub(super) fn draw(rows: &Rows, path: &Path) -> anyhow::Result<()> {
    let mut svg = String::new();
    picture(rows, &mut svg).context("cannot draw the plot")?;
    std::fs::write(path, svg).with_context(|| format!("cannot write {}", path.display()))
}

fn picture(rows: &Rows, svg: &mut String) -> anyhow::Result<()> {
    let span = rows.span.as_secs_f64().max(1.0);
    let point = |row: &Row| {
        let misses = 100.0 * float(row.misses) / float(row.touches);
        (row.residency_s / span, misses)
    };
    let shown = Frame::around(rows, point);
    let drawn = |row: &&Row| shown.holds(point(row));
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(
            format!("{} touches, {}", rows.touches, short(rows.span)),
            ("sans-serif", 20),
        )
        .margin(16)
        .x_label_area_size(48)
        .y_label_area_size(64)
        .build_cartesian_2d(shown.x.clone().log_scale(), shown.y.clone().log_scale())?;
    chart
        .configure_mesh()
        .x_desc("residency: sessions hot at a time, on average")
        .y_desc("misses, % of touches")
        .x_label_formatter(&|v| number(*v))
        .y_label_formatter(&|v| number(*v))
        .axis_desc_style(("sans-serif", 16))
        .label_style(("sans-serif", 14))
        .light_line_style(RGBColor(238, 238, 238))
        .draw()?;
    for name in Name::ALL {
        let colour = colour(name);
        let own: Vec<_> = rows.of(name).filter(drawn).map(point).collect();
        chart
            .draw_series(LineSeries::new(own.iter().copied(), colour.stroke_width(2)))?
            .label(legend(name))
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 24, y)], colour.stroke_width(2)));
        chart.draw_series(own.iter().map(|p| Circle::new(*p, 3, colour.filled())))?;
    }
    let left_below = Pos::new(HPos::Right, VPos::Top);
    let labels = rows.of(Name::Fixed).map(|row| {
        let font = ("sans-serif", 13).into_font().color(&colour(Name::Fixed));
        let (x, y) = point(row);
        Text::new(
            short(row.time()),
            (x * 0.96, y * 0.98),
            font.pos(left_below),
        )
    });
    chart.draw_series(labels)?;
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.4))
        .label_font(("sans-serif", 15))
        .draw()?;
    area.present()?;
    drop(chart);
    Ok(())
}

/// What the axes show: what makes sense to compare. A curve may leave it.
struct Frame {
    x: Range<f64>,
    y: Range<f64>,
}

impl Frame {
    /// All times to live and the bound, with room for others on the right.
    fn around(rows: &Rows, point: impl Fn(&Row) -> (f64, f64)) -> Self {
        let points = [Name::Fixed, Name::Oracle]
            .into_iter()
            .flat_map(|name| rows.of(name));
        let points: Vec<_> = points.map(point).collect();
        let range = |of: fn(&(f64, f64)) -> f64, room: f64| {
            let values = points.iter().map(of).filter(|v| *v > 0.0);
            let (low, high) = values.fold((f64::MAX, 0.0_f64), |(l, h), v| (l.min(v), h.max(v)));
            (low.min(high.max(1e-9)) / 1.5)..(high.max(1e-9) * room)
        };
        Self {
            x: range(|p| p.0, 20.0),
            y: range(|p| p.1, 1.5),
        }
    }

    fn holds(&self, (x, y): (f64, f64)) -> bool {
        self.x.contains(&x) && self.y.contains(&y)
    }
}

/// A number as short as it can be said.
fn number(value: f64) -> String {
    if value >= 10.0 {
        format!("{value:.0}")
    } else if value >= 1.0 {
        format!("{value:.1}").trim_end_matches(".0").to_owned()
    } else {
        format!("{value:.3}").trim_end_matches('0').to_owned()
    }
}
