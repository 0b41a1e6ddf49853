//! `uinotify top`: the instances of this user's emulators, with their rates and queues, as they change.

use std::io::{self, IsTerminal};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};

use crate::ps;

mod rates;
mod screen;

use rates::Rates;
use screen::Screen;

/// What a key does.
enum Asked {
    End,
    Up,
    Down,
    Nothing,
}

/// Shows them until `q`, Esc or Ctrl-C, anew in each interval.
///
/// # Errors
/// Standard output is no terminal; no server is at `socket` any more.
pub fn top(socket: Option<&Path>, interval: Duration) -> anyhow::Result<()> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        bail!("`top` needs a terminal; `uinotify ps --json` is for programs");
    }
    let mut rates = Rates::default();
    let mut screen = Screen::default();
    // Before the terminal changes: what is wrong is to be read.
    screen.show(rates.of(ps::all(socket)?.0, Instant::now()));
    let mut terminal = ratatui::init();
    let result = run(&mut terminal, socket, interval, &mut rates, &mut screen);
    ratatui::restore();
    result
}

fn run(
    terminal: &mut ratatui::DefaultTerminal,
    socket: Option<&Path>,
    interval: Duration,
    rates: &mut Rates,
    screen: &mut Screen,
) -> anyhow::Result<()> {
    let mut due = Instant::now() + interval;
    loop {
        terminal.draw(|frame| screen.draw(frame)).context("cannot draw")?;
        if event::poll(due.saturating_duration_since(Instant::now())).context("cannot read the terminal")? {
            match asked(&event::read().context("cannot read the terminal")?) {
                Asked::End => return Ok(()),
                Asked::Up => screen.up(),
                Asked::Down => screen.down(),
                Asked::Nothing => {}
            }
        } else {
            let now = Instant::now();
            screen.show(rates.of(ps::all(socket)?.0, now));
            due = now + interval;
        }
    }
}

fn asked(event: &Event) -> Asked {
    let Event::Key(key) = event else { return Asked::Nothing };
    if key.kind != KeyEventKind::Press {
        return Asked::Nothing;
    }
    match key.code {
        KeyCode::Char('q') | KeyCode::Esc => Asked::End,
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Asked::End,
        KeyCode::Up | KeyCode::Char('k') => Asked::Up,
        KeyCode::Down | KeyCode::Char('j') => Asked::Down,
        _ => Asked::Nothing,
    }
}
