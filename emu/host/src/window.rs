//! The part of a queue that is in the socket.

use std::collections::VecDeque;

/// The weights of the events that were sent and are not known to be read, oldest first.
#[derive(Debug)]
pub(crate) struct Window {
    weights: VecDeque<u32>,
    total: u32,
    weight_max: u32,
}

impl Window {
    /// An empty window, which is full at `weight_max`.
    pub(crate) fn new(weight_max: u32) -> Self {
        Self { weights: VecDeque::new(), total: 0, weight_max }
    }

    /// The number of events in it.
    pub(crate) fn len(&self) -> usize {
        self.weights.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.weights.is_empty()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.total >= self.weight_max
    }

    /// An event was sent.
    pub(crate) fn push(&mut self, weight: u32) {
        self.weights.push_back(weight);
        self.total += weight;
    }

    /// The events that weigh `unread` are still there: how many of the oldest have been read since this was last asked?
    pub(crate) fn read_since(&mut self, unread: u32) -> usize {
        let mut count = 0;
        while self.total > unread
            && let Some(weight) = self.weights.pop_front()
        {
            self.total -= weight;
            count += 1;
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unread_is_a_suffix() {
        let mut window = Window::new(3000);
        for weight in [768, 1280, 768] {
            assert!(!window.is_full());
            window.push(weight);
        }
        assert_eq!(window.read_since(2816), 0);
        assert_eq!(window.read_since(2048), 1);
        assert_eq!(window.read_since(2048), 0);
        assert_eq!(window.read_since(0), 2);
        assert!(window.is_empty());
    }

    #[test]
    fn a_window_fills_up() {
        let mut window = Window::new(1000);
        window.push(768);
        assert!(!window.is_full());
        window.push(768);
        assert!(window.is_full());
    }
}
