//! Themes: texts that use the same experts, one for each shard as far as there are texts. It knows
//! nothing of bytes and room.

use llama_sys::gguf::{ExpertSets, Usage};

/// The theme of each shard, as the usage of its texts, given what each holds now. There must be a
/// usage, and all are of one model.
pub(super) fn of(usage: &[Usage], held: &[Option<&ExpertSets>]) -> Vec<Usage> {
    let texts: Vec<Usage> = usage.iter().map(Usage::shares).collect();
    let themes = themes(&texts, held.len());
    let chosen = pair(&themes, held);
    chosen
        .into_iter()
        .map(|theme| themes[theme].clone())
        .collect()
}

/// At most so many themes: texts around those that are farthest from one another.
fn themes(texts: &[Usage], most: usize) -> Vec<Usage> {
    let centres = centres(texts, most.max(1));
    let mut groups: Vec<Vec<Usage>> = vec![Vec::new(); centres.len()];
    for text in texts {
        let distance = |centre: usize| apart(text, &texts[centres[centre]]);
        let nearest = (0..centres.len()).min_by(|a, b| distance(*a).total_cmp(&distance(*b)));
        if let Some(nearest) = nearest {
            groups[nearest].push(text.clone());
        }
    }
    groups
        .iter()
        .filter_map(|group| Usage::mean(group))
        .collect()
}

/// Texts far from one another, by farthest-first traversal (Gonzalez): the first is the one that is
/// farthest from the mean.
fn centres(texts: &[Usage], most: usize) -> Vec<usize> {
    let Some(mean) = Usage::mean(texts) else {
        return Vec::new();
    };
    let mut distances: Vec<f64> = texts.iter().map(|text| apart(text, &mean)).collect();
    let mut centres = Vec::new();
    while centres.len() < most.min(texts.len()) {
        let farthest = (0..texts.len()).max_by(|a, b| {
            let by_distance = distances[*a].total_cmp(&distances[*b]);
            by_distance.then(b.cmp(a))
        });
        let Some(farthest) = farthest else {
            break;
        };
        if !centres.is_empty() && distances[farthest] <= 0.0 {
            break;
        }
        let first = centres.is_empty();
        centres.push(farthest);
        for (distance, text) in distances.iter_mut().zip(texts) {
            let to_new = apart(text, &texts[farthest]);
            *distance = if first { to_new } else { distance.min(to_new) };
        }
    }
    centres
}

/// How differently two texts use the experts: the sum of the differences.
fn apart(a: &Usage, b: &Usage) -> f64 {
    let pairs = a.layers().iter().flatten().zip(b.layers().iter().flatten());
    pairs.map(|(a, b)| (a - b).abs()).sum()
}

/// The theme of each shard: the one of which it holds most already, no theme twice before each has
/// one.
fn pair(themes: &[Usage], held: &[Option<&ExpertSets>]) -> Vec<usize> {
    let mut pairs = Vec::new();
    for (shard, held) in held.iter().enumerate() {
        for (theme, usage) in themes.iter().enumerate() {
            let retained = held.map_or(0.0, |held| usage.retained(held));
            pairs.push((retained, shard, theme));
        }
    }
    // Stable: of equals the first shard gets the first theme.
    pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut chosen: Vec<Option<usize>> = vec![None; held.len()];
    for quota in 1..=held.len() {
        let mut taken = vec![0; themes.len()];
        chosen.iter().flatten().for_each(|theme| taken[*theme] += 1);
        for (_, shard, theme) in &pairs {
            if chosen[*shard].is_none() && taken[*theme] < quota {
                chosen[*shard] = Some(*theme);
                taken[*theme] += 1;
            }
        }
    }
    chosen.into_iter().map(Option::unwrap_or_default).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(masses: &[f64]) -> Usage {
        Usage::try_from(vec![masses.to_vec()]).unwrap()
    }

    #[test]
    fn texts_that_use_the_same_experts_are_one_theme() {
        let texts = [
            usage(&[9.0, 1.0, 0.0, 0.0]),
            usage(&[0.0, 0.0, 8.0, 2.0]),
            usage(&[8.0, 2.0, 0.0, 0.0]),
        ];
        let themes = of(&texts, &[None, None]);
        let codes = themes.iter().filter(|theme| theme.of(0, 0) > 0.8).count();
        let others = themes.iter().filter(|theme| theme.of(0, 2) > 0.7).count();
        assert_eq!((codes, others), (1, 1));
    }

    #[test]
    fn each_theme_has_a_shard_before_any_has_two() {
        let texts = [
            usage(&[1.0, 0.0, 0.0]),
            usage(&[0.0, 1.0, 0.0]),
            usage(&[0.0, 0.0, 1.0]),
        ];
        let themes = of(&texts, &[None; 4]);
        for expert in 0..3 {
            assert!(themes.iter().any(|theme| theme.of(0, expert) == 1.0));
        }
        assert_eq!(of(&texts[..1], &[None; 4]).len(), 4);
        assert_eq!(of(&texts, &[]), []);
    }

    #[test]
    fn a_shard_keeps_its_theme() {
        let texts = [usage(&[1.0, 0.0]), usage(&[0.0, 1.0])];
        let has = |expert| ExpertSets::new(2, vec![vec![expert]]).unwrap();
        for (a, b) in [(0, 1), (1, 0)] {
            let (first, second) = (has(a), has(b));
            let themes = of(&texts, &[Some(&first), Some(&second)]);
            assert_eq!(themes[0].of(0, a), 1.0);
            assert_eq!(themes[1].of(0, b), 1.0);
        }
    }

    #[test]
    fn equal_texts_are_one_theme() {
        let texts = vec![usage(&[1.0, 3.0]); 5];
        assert_eq!(themes(&texts, 3).len(), 1);
    }
}
