//! What stands on the terminal.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Block, Cell, Paragraph, Row, Table, TableState};

use super::rates::Rated;
use crate::number::show_watch_descriptor;
use crate::ps::{creator_name, printable, show_mask};

/// The instances, and the one that is chosen.
#[derive(Debug, Default)]
pub(super) struct Screen {
    rated: Vec<Rated>,
    /// By emulator and number: others come and go.
    chosen: Option<(i32, u64)>,
}

impl Screen {
    /// These are the instances now.
    pub(super) fn show(&mut self, rated: Vec<Rated>) {
        self.rated = rated;
        if self.place().is_none() {
            self.choose(0);
        }
    }

    fn place(&self) -> Option<usize> {
        self.rated.iter().position(|rated| Some((rated.emulator, rated.group.id)) == self.chosen)
    }

    fn choose(&mut self, place: usize) {
        let last = self.rated.len().saturating_sub(1);
        self.chosen = self.rated.get(place.min(last)).map(|rated| (rated.emulator, rated.group.id));
    }

    pub(super) fn up(&mut self) {
        self.choose(self.place().unwrap_or(0).saturating_sub(1));
    }

    pub(super) fn down(&mut self) {
        self.choose(self.place().map_or(0, |place| place + 1));
    }

    pub(super) fn draw(&self, frame: &mut Frame<'_>) {
        // The line above the table, its head, and what frames both.
        let instances_height = u16::try_from(self.rated.len()).unwrap_or(u16::MAX).saturating_add(3);
        let half = frame.area().height / 2;
        let [instances, watches, keys] = Layout::vertical([
            Constraint::Length(instances_height.min(half.max(5))),
            Constraint::Fill(1),
            Constraint::Length(1),
        ])
        .areas(frame.area());
        self.draw_instances(frame, instances);
        self.draw_watches(frame, watches);
        let keys_style = Style::new().add_modifier(Modifier::DIM);
        frame.render_widget(Paragraph::new("up and down choose an instance, q ends").style(keys_style), keys);
    }

    fn draw_instances(&self, frame: &mut Frame<'_>, area: Rect) {
        let head = ["emulator", "group", "opened by", "source", "watches", "queue", "events/s", "merged", "lost"];
        let rows = self.rated.iter().map(|Rated { emulator, group, events_a_second }| {
            let queue = format!("{} of {}", group.queue_events, group.limits.queue_events_max);
            let is_full = group.queue_events >= u64::from(group.limits.queue_events_max);
            let warned = |is_bad| if is_bad { Style::new().fg(Color::Red) } else { Style::new() };
            Row::new([
                Cell::new(emulator.to_string()),
                Cell::new(group.id.to_string()),
                Cell::new(creator(group.creator_pid)),
                Cell::new(printable(&group.source)),
                Cell::new(group.watches.len().to_string()),
                Cell::new(queue).style(warned(is_full)),
                Cell::new(events_a_second.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.0}"))),
                Cell::new(group.events_merged.to_string()),
                Cell::new(group.events_lost.to_string()).style(warned(group.events_lost > 0)),
            ])
        });
        let widths = [
            Constraint::Length(8),
            Constraint::Length(6),
            Constraint::Min(16),
            Constraint::Length(14),
            Constraint::Length(8),
            Constraint::Length(16),
            Constraint::Length(9),
            Constraint::Length(9),
            Constraint::Length(9),
        ];
        let title = match self.rated.len() {
            0 => "no instance".to_owned(),
            1 => "1 instance".to_owned(),
            count => format!("{count} instances"),
        };
        let table = Table::new(rows, widths)
            .header(Row::new(head).style(Style::new().add_modifier(Modifier::BOLD)))
            .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED))
            .block(Block::bordered().title(title));
        let mut state = TableState::new().with_selected(self.place());
        frame.render_stateful_widget(table, area, &mut state);
    }

    fn draw_watches(&self, frame: &mut Frame<'_>, area: Rect) {
        let Some(Rated { group, .. }) = self.place().and_then(|place| self.rated.get(place)) else { return };
        let room = usize::from(area.height.saturating_sub(2));
        let mut lines: Vec<Line<'_>> = group
            .watches
            .iter()
            .take(room)
            .map(|watch| {
                let wd = show_watch_descriptor(watch.wd);
                Line::from(format!("{wd:<24} {}  {}", printable(&watch.path), show_mask(watch.mask)))
            })
            .collect();
        if group.watches.len() > room && room > 0 {
            lines.truncate(room - 1);
            lines.push(Line::from(format!("and {} more", group.watches.len() + 1 - room)));
        }
        let title = format!("watches of group {}, next wd {}", group.id, show_watch_descriptor(group.cursor));
        frame.render_widget(Paragraph::new(lines).block(Block::bordered().title(title)), area);
    }
}

fn creator(pid: i32) -> String {
    match creator_name(pid) {
        Some(name) => format!("{pid} {}", printable(&name)),
        None => format!("{pid} (gone)"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::top::rates::Rates;
    use crate::top::rates::tests::{emulator, group};

    fn drawn(screen: &Screen) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(110, 12)).expect("a terminal in memory");
        terminal.draw(|frame| screen.draw(frame)).expect("it is drawn");
        let buffer = terminal.backend().buffer();
        let line = |y: u16| (0..buffer.area.width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
        (0..buffer.area.height).map(line).collect()
    }

    #[test]
    fn instances_and_the_watches_of_the_chosen_one_are_shown() {
        let mut rates = Rates::default();
        let mut screen = Screen::default();
        screen.show(rates.of(vec![emulator(vec![group(1, 5), group(3, 5)])], Instant::now()));
        let lines = drawn(&screen);
        assert!(lines[0].contains("2 instances"), "{lines:#?}");
        let row = lines[3].split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(row.contains(" inotify 1 4 of 16 - 10 2 "), "{row}");
        assert!(lines[5].contains("watches of group 1, next wd 3"), "{lines:#?}");
        // A path does not reach the terminal as it is.
        assert!(lines[6].contains("2 ") && lines[6].contains("/a\\nb  CREATE|DELETE"), "{lines:#?}");
        screen.down();
        screen.down();
        assert!(drawn(&screen).iter().any(|line| line.contains("watches of group 3")));
        // Its number is what was chosen, not its place.
        screen.show(rates.of(vec![emulator(vec![group(3, 5)])], Instant::now()));
        assert!(drawn(&screen).iter().any(|line| line.contains("watches of group 3")));
        screen.show(Vec::new());
        assert!(drawn(&screen)[0].contains("no instance"));
    }
}
