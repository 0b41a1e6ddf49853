//! A trace as a picture: one page with everything in it, no script and nothing from elsewhere.
//!
//! Time goes to the right. The calls are on the first line, each watch has a line of its own, and below are the queues with their limits.

use std::collections::BTreeMap;
use std::fmt::Write;

use uinotify_host::trace::{Outcome, Record, What};
use uinotify_images::text::show_mask;

use super::read::Recorded;
use super::show_command;
use super::summary::Summary;

/// Of the picture, in pixels.
const WIDTH: f64 = 1180.0;
const LEFT: f64 = 330.0;
const LANE_HEIGHT: f64 = 22.0;
const QUEUE_HEIGHT: f64 = 110.0;
const GAP: f64 = 34.0;
const TOP: f64 = 40.0;

/// More marks than this no browser draws quickly, and nobody sees: those that would cover others are left out then.
const MARKS_MAX: usize = 20_000;

/// Lines of watches, the busiest first chosen; the rest is named.
const LANES_MAX: usize = 60;

const STYLE: &str = "\
body{font:14px/1.45 system-ui,sans-serif;margin:24px auto;max-width:1240px;padding:0 20px;color:#1c2330;background:#fff}\
h1{font-size:20px;margin:0 0 4px}p{margin:4px 0 14px;color:#556}code{font:13px ui-monospace,monospace}\
svg{width:100%;height:auto;background:#fafbfc;border:1px solid #dde2ea;border-radius:6px}\
svg text{font:11px ui-monospace,monospace;fill:#334}svg .axis{fill:#778}svg .lane{stroke:#e4e8ee}\
.queued{fill:#1f8a4c}.merged{fill:#fafbfc;stroke:#1f8a4c;stroke-width:1.4}.lost{stroke:#c62828;stroke-width:2;fill:none}\
.call{stroke:#2a5fb0;stroke-width:1.6}.failed{stroke:#c62828;stroke-width:2}.depth{fill:#d7e5f8;stroke:#2a5fb0;stroke-width:1}\
.limit{stroke:#c62828;stroke-dasharray:5 4}.overflow{fill:#c62828}\
table{border-collapse:collapse;margin:14px 30px 0 0;display:inline-table;vertical-align:top}\
th,td{padding:3px 12px;text-align:right;border-bottom:1px solid #e4e8ee;font-variant-numeric:tabular-nums}\
th:first-child,td:first-child{text-align:left}.legend span{margin-right:18px}.bad{color:#c62828;font-weight:600}";

/// The page, in HTML.
pub(super) fn page(recorded: &Recorded, summary: &Summary) -> String {
    let command = escaped(&show_command(&recorded.command));
    let mut page = String::new();
    // Writing to a string does not fail, here and below.
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>uinotify trace: {command}</title><style>{STYLE}</style>\n\
         <h1>inotify in <code>{command}</code></h1>\n<p>{}</p>\n",
        headline(recorded, summary)
    );
    page.push_str(&picture(&recorded.records));
    page.push_str(
        "<p class=\"legend\"><span><svg width=\"12\" height=\"12\" style=\"width:12px;border:0;background:none\"><circle cx=\"6\" cy=\"6\" r=\"4\" class=\"queued\"/></svg> event queued</span>\
         <span><svg width=\"12\" height=\"12\" style=\"width:12px;border:0;background:none\"><circle cx=\"6\" cy=\"6\" r=\"4\" class=\"merged\"/></svg> merged with the one before</span>\
         <span><svg width=\"12\" height=\"12\" style=\"width:12px;border:0;background:none\"><path d=\"M2 2l8 8M10 2l-8 8\" class=\"lost\"/></svg> lost</span>\
         <span><svg width=\"12\" height=\"12\" style=\"width:12px;border:0;background:none\"><path d=\"M6 0v12\" class=\"call\"/></svg> call</span>\
         <span><svg width=\"12\" height=\"12\" style=\"width:12px;border:0;background:none\"><path d=\"M6 0v12\" class=\"failed\"/></svg> call that failed</span>\
         Point at a mark to see what it is.</p>\n",
    );
    tables(&mut page, summary);
    page.push_str("</html>\n");
    page
}

fn headline(recorded: &Recorded, summary: &Summary) -> String {
    let seconds = recorded.records.last().map_or(0.0, |record| record.time_us as f64 / 1e6);
    let calls: u64 = summary.calls.values().map(|(count, _)| count).sum();
    let is_event = |record: &&Record| matches!(record.what, What::Event { .. });
    let events = recorded.records.iter().filter(is_event).count();
    let lost = match summary.lost() {
        0 => "none lost".to_owned(),
        lost => format!("<span class=\"bad\">{lost} lost</span>"),
    };
    format!("{calls} calls and {events} events in {seconds:.3} s, {lost}.")
}

fn tables(page: &mut String, summary: &Summary) {
    page.push_str("<table><tr><th>call<th>number<th>failed</tr>\n");
    for (name, (count, failures)) in &summary.calls {
        let _ = writeln!(page, "<tr><td>{name}<td>{count}<td>{failures}</tr>");
    }
    page.push_str("</table><table><tr><th>event<th>number<th>merged<th>lost</tr>\n");
    for (name, events) in &summary.events {
        let _ = writeln!(page, "<tr><td>{name}<td>{}<td>{}<td>{}</tr>", events.came, events.merged, events.lost);
    }
    page.push_str("</table>\n");
}

/// A watch: its instance, and its number there.
type WatchKey = (u64, i32);

/// What a watch is called, and how much came to it.
struct Lane {
    label: String,
    events: usize,
}

/// The lines of watches.
struct Lanes {
    /// Those that are drawn, in the order in which they were added.
    order: Vec<WatchKey>,
    lanes: BTreeMap<WatchKey, Lane>,
    /// How many are not.
    left_out: usize,
}

/// Time, in the picture.
struct Scale {
    begin_us: u64,
    span_us: f64,
}

impl Scale {
    fn of(records: &[Record]) -> Self {
        let begin_us = records.first().map_or(0, |record| record.time_us);
        let end_us = records.last().map_or(0, |record| record.time_us);
        Self { begin_us, span_us: (end_us - begin_us).max(1) as f64 }
    }

    fn x(&self, time_us: u64) -> f64 {
        LEFT + time_us.saturating_sub(self.begin_us) as f64 / self.span_us * (WIDTH - LEFT - 20.0)
    }
}

fn lanes(records: &[Record]) -> Lanes {
    let mut lanes: BTreeMap<WatchKey, Lane> = BTreeMap::new();
    let mut order = Vec::new();
    for Record { instance, what, .. } in records {
        let (wd, path) = match what {
            What::AddWatch { wd: Some(wd), path, .. } => (*wd, Some(path)),
            What::Event { wd, path, .. } => (*wd, path.as_ref()),
            _ => continue,
        };
        let lane = lanes.entry((*instance, wd)).or_insert_with(|| {
            order.push((*instance, wd));
            Lane { label: String::new(), events: 0 }
        });
        lane.events += usize::from(matches!(what, What::Event { .. }));
        if let (true, Some(path)) = (lane.label.is_empty(), path) {
            lane.label = path.to_string();
        }
    }
    let mut busiest: Vec<_> = lanes.iter().map(|(key, lane)| (lane.events, *key)).collect();
    busiest.sort_unstable_by(|one, other| other.cmp(one));
    let left_out = busiest.len().saturating_sub(LANES_MAX);
    for (_, key) in busiest.into_iter().skip(LANES_MAX) {
        lanes.remove(&key);
    }
    order.retain(|key| lanes.contains_key(key));
    Lanes { order, lanes, left_out }
}

fn picture(records: &[Record]) -> String {
    let scale = Scale::of(records);
    let Lanes { order, lanes, left_out } = lanes(records);
    let instances: Vec<u64> = {
        // One that no event came to has nothing to show.
        let is_shown = |record: &&Record| matches!(record.what, What::Event { .. });
        let mut instances: Vec<u64> = records.iter().filter(is_shown).map(|record| record.instance).collect();
        instances.sort_unstable();
        instances.dedup();
        instances
    };
    let calls_y = TOP + LANE_HEIGHT / 2.0;
    let lane_y = |place: usize| TOP + LANE_HEIGHT * (place as f64 + 1.5);
    let queues_top = TOP + LANE_HEIGHT * (order.len() as f64 + 1.0) + GAP;
    let height = queues_top + instances.len() as f64 * (QUEUE_HEIGHT + GAP) + 10.0;
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" aria-label=\"calls, events and queues over time\">\n"
    );
    axis(&mut svg, &scale, height);
    lane_line(&mut svg, calls_y, "calls");
    let places: BTreeMap<WatchKey, usize> = order.iter().enumerate().map(|(place, key)| (*key, place)).collect();
    for (place, key) in order.iter().enumerate() {
        let (instance, wd) = key;
        let label = lanes.get(key).map_or("", |lane| &lane.label);
        let label = if *wd == -1 { "(overflow)".to_owned() } else { format!("wd {wd} {label}") };
        let label = if instances.len() > 1 { format!("{instance}: {label}") } else { label };
        lane_line(&mut svg, lane_y(place), &label);
    }
    if left_out > 0 {
        let _ = writeln!(
            svg,
            "<text x=\"8\" y=\"{:.1}\">and {left_out} watches with fewer events</text>",
            queues_top - GAP + 14.0
        );
    }
    marks(&mut svg, records, &scale, |key| places.get(&key).map(|place| lane_y(*place)), calls_y);
    for (place, instance) in instances.iter().enumerate() {
        let top = queues_top + place as f64 * (QUEUE_HEIGHT + GAP);
        queue(&mut svg, records, &scale, *instance, top);
    }
    svg.push_str("</svg>\n");
    svg
}

fn axis(svg: &mut String, scale: &Scale, height: f64) {
    const TICKS: u32 = 8;
    for tick in 0..=TICKS {
        let time_us = scale.begin_us + (scale.span_us * f64::from(tick) / f64::from(TICKS)) as u64;
        let x = scale.x(time_us);
        let anchor = if tick == TICKS { "end" } else { "middle" };
        let _ = writeln!(
            svg,
            "<path d=\"M{x:.1} 24V{height:.0}\" class=\"lane\"/><text x=\"{x:.1}\" y=\"16\" text-anchor=\"{anchor}\" class=\"axis\">{:.3} s</text>",
            time_us as f64 / 1e6
        );
    }
}

fn lane_line(svg: &mut String, y: f64, label: &str) {
    const LABEL_CHARACTERS_MAX: usize = 46;
    // The end of a path tells more than its beginning.
    let length = label.chars().count();
    let shown: String = if length > LABEL_CHARACTERS_MAX {
        let (head, tail) = (label.chars().take(10), label.chars().skip(length - LABEL_CHARACTERS_MAX + 11));
        head.chain(std::iter::once('…')).chain(tail).collect()
    } else {
        label.to_owned()
    };
    let _ = writeln!(
        svg,
        "<path d=\"M{LEFT} {y:.1}H{WIDTH}\" class=\"lane\"/><text x=\"8\" y=\"{:.1}\">{}<title>{}</title></text>",
        y + 4.0,
        escaped(&shown),
        escaped(label)
    );
}

/// Calls and events.
fn marks(svg: &mut String, records: &[Record], scale: &Scale, lane_of: impl Fn(WatchKey) -> Option<f64>, calls_y: f64) {
    let thins = records.len() > MARKS_MAX;
    // Of marks that would cover each other one is enough; what was lost or has failed is never left out for another.
    let mut last: BTreeMap<(u64, i32, bool), i64> = BTreeMap::new();
    for record in records {
        let Record { time_us, instance, what } = record;
        let x = scale.x(*time_us);
        let (key, is_bad, y) = match what {
            // It is told again when it comes.
            What::Event { outcome: Outcome::Held, .. } => continue,
            What::Event { wd, outcome, .. } => {
                let Some(y) = lane_of((*instance, *wd)) else { continue };
                (*wd, matches!(outcome, Outcome::Overflowed | Outcome::Dropped), y)
            }
            What::Read { .. } | What::Close {} => continue,
            call => (i32::MIN, has_failed(call), calls_y),
        };
        let pixel = x as i64;
        if thins && last.insert((*instance, key, is_bad), pixel) == Some(pixel) {
            continue;
        }
        let title = escaped(&record.to_string());
        let _ = match what {
            What::Event { outcome: Outcome::Queued, .. } => {
                writeln!(
                    svg,
                    "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" class=\"queued\"><title>{title}</title></circle>"
                )
            }
            What::Event { outcome: Outcome::Merged, .. } => {
                writeln!(
                    svg,
                    "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" class=\"merged\"><title>{title}</title></circle>"
                )
            }
            What::Event { .. } => writeln!(
                svg,
                "<path d=\"M{:.1} {:.1}l8 8M{:.1} {:.1}l-8 8\" class=\"lost\"><title>{title}</title></path>",
                x - 4.0,
                y - 4.0,
                x + 4.0,
                y - 4.0
            ),
            _ => writeln!(
                svg,
                "<path d=\"M{x:.1} {:.1}v14\" class=\"{}\"><title>{title}</title></path>",
                y - 7.0,
                if is_bad { "failed" } else { "call" }
            ),
        };
    }
}

fn has_failed(call: &What) -> bool {
    match call {
        What::Init { errno, .. }
        | What::AddWatch { errno, .. }
        | What::RemoveWatch { errno, .. }
        | What::SetNextWd { errno, .. } => errno.is_some(),
        What::FailedRead { .. } => true,
        _ => false,
    }
}

/// How long a queue was, with its limit, and where it overflowed.
fn queue(svg: &mut String, records: &[Record], scale: &Scale, instance: u64, top: f64) {
    let of_instance = || records.iter().filter(|record| record.instance == instance);
    let depth = |what: &What| match what {
        What::Event { queue_events, .. } | What::Read { queue_events, .. } => Some(*queue_events),
        What::Close {} => Some(0),
        _ => None,
    };
    let peak = of_instance().filter_map(|record| depth(&record.what)).max().unwrap_or(0);
    let limit = of_instance().find_map(|record| match record.what {
        What::Init { queue_events_max, .. } if queue_events_max > 0 => Some(queue_events_max as usize),
        _ => None,
    });
    // A limit that is far away would make a flat line of everything.
    let is_near = limit.is_some_and(|limit| peak * 4 >= limit);
    let full = peak.max(if is_near { limit.unwrap_or(0) } else { 0 }).max(1) as f64;
    let bottom = top + QUEUE_HEIGHT;
    let y = |events: usize| bottom - events as f64 / full * (QUEUE_HEIGHT - 12.0);
    let label = match limit {
        Some(limit) => format!("instance {instance}: queue, at most {peak} of {limit}"),
        None => format!("instance {instance}: queue, at most {peak}"),
    };
    let _ = writeln!(
        svg,
        "<text x=\"8\" y=\"{:.1}\">{label}</text><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" class=\"axis\">{peak}</text>",
        top + 14.0,
        LEFT - 6.0,
        y(peak) + 4.0
    );
    let mut line = format!("M{LEFT} {bottom:.1}");
    let mut last = (0_i64, usize::MAX);
    for record in of_instance() {
        if let Some(events) = depth(&record.what) {
            let x = scale.x(record.time_us);
            let point = (x as i64, events);
            if point != last {
                let _ = write!(line, "H{x:.1}V{:.1}", y(events));
            }
            last = point;
        }
    }
    let _ = writeln!(svg, "<path d=\"{line}H{:.1}V{bottom:.1}Z\" class=\"depth\"/>", WIDTH - 20.0);
    if let (true, Some(limit)) = (is_near, limit) {
        let _ = writeln!(
            svg,
            "<path d=\"M{LEFT} {0:.1}H{WIDTH}\" class=\"limit\"><title>limit: {limit}</title></path>",
            y(limit)
        );
    }
    for record in of_instance() {
        let is_overflow = match &record.what {
            What::Event { outcome, mask, .. } => {
                *outcome == Outcome::Overflowed || show_mask(*mask).contains("IN_Q_OVERFLOW")
            }
            _ => false,
        };
        if is_overflow {
            let x = scale.x(record.time_us);
            let _ = writeln!(
                svg,
                "<path d=\"M{x:.1} {top:.1}l5 -9h-10z\" class=\"overflow\"><title>{}</title></path>",
                escaped(&record.to_string())
            );
        }
    }
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // Nothing that a path may have breaks the page.
            character if character.is_control() => escaped.push('\u{fffd}'),
            character => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use uinotify_images::text::ByteString;

    #[test]
    fn a_page_holds_everything_and_nothing_breaks_it() {
        let path = ByteString::from(&b"/a<b>\"&"[..]);
        let record = |time_us, what| Record { time_us, instance: 1, what };
        let event = |outcome, queue_events| What::Event {
            wd: 1,
            path: Some(path.clone()),
            mask: 0x100,
            cookie: 0,
            name: ByteString::from(&b"</svg>"[..]),
            outcome,
            queue_events,
        };
        let records = vec![
            record(0, What::Init { pid: 1, flags: 0, queue_events_max: 2, errno: None }),
            record(10, What::AddWatch { pid: 1, path: path.clone(), mask: 0x100, wd: Some(1), errno: None }),
            record(20, event(Outcome::Queued, 1)),
            record(30, event(Outcome::Merged, 1)),
            record(40, event(Outcome::Queued, 2)),
            record(50, event(Outcome::Overflowed, 3)),
            record(60, What::Read { events: 3, queue_events: 0 }),
        ];
        let recorded =
            Recorded { command: vec!["sh".into(), "-c".into(), "<script>".into()], records, lines: Vec::new() };
        let page = page(&recorded, &Summary::of(&recorded.records));
        let count = |part: &str| page.matches(part).count();
        assert_eq!(count("</svg>"), count("<svg"), "{page}");
        assert_eq!((count("<script"), count("href="), count("src=")), (0, 0, 0));
        // One more of each in the legend.
        assert_eq!(count("class=\"queued\""), 3);
        assert_eq!(count("class=\"merged\""), 2);
        assert_eq!(count("class=\"lost\""), 2);
        assert_eq!(count("class=\"overflow\""), 1);
        assert_eq!(count("class=\"limit\""), 1);
        assert!(page.contains("2 calls and 4 events in 0.000 s, <span class=\"bad\">1 lost</span>."), "{page}");
    }

    #[test]
    fn a_long_trace_is_thinned_and_keeps_what_went_wrong() {
        let lost = |index: u64| index == 70_000;
        let records: Vec<Record> = (0..100_000)
            .map(|time_us| {
                let outcome = if lost(time_us) { Outcome::Dropped } else { Outcome::Queued };
                let name = ByteString::default();
                let what = What::Event { wd: 1, path: None, mask: 2, cookie: 0, name, outcome, queue_events: 1 };
                Record { time_us, instance: 1, what }
            })
            .collect();
        let svg = picture(&records);
        assert!(svg.matches("<circle").count() < 1000);
        assert_eq!(svg.matches("class=\"lost\"").count(), 1);
    }
}
