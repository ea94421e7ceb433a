use image::RgbImage;

use super::*;
use crate::scenes::geometry::{contains, turned};
use crate::scenes::lexicon::{Color, Shape};

fn compositions(seed: u64, count: u64) -> Vec<Composition> {
    let faces = Faces::load().unwrap();
    (0..count)
        .map(|index| compose(&faces, seed, index, format!("{index}.png")))
        .collect()
}

/// The tight pixel box of what stands out from a flat grey of 128 by more than `contrast`.
fn ink_box(picture: &RgbImage, contrast: i32) -> Box2 {
    let points: Vec<[f32; 2]> = picture
        .enumerate_pixels()
        .filter(|(_, _, p)| p.0.iter().any(|v| (i32::from(*v) - 128).abs() > contrast))
        .flat_map(|(x, y, _)| [[x as f32, y as f32], [x as f32 + 1.0, y as f32 + 1.0]])
        .collect();
    bounds(&points)
}

fn flat() -> Background {
    Background {
        gray: 128.0,
        slope: [0.0, 0.0],
        noise: 0.0,
        noise_seed: 0,
    }
}

#[test]
fn the_same_seed_and_index_compose_the_same_scene() {
    let (a, b) = (compositions(5, 20), compositions(5, 20));
    for (a, b) in a.iter().zip(&b) {
        assert_eq!(a.scene, b.scene);
        assert_eq!(a.draw(), b.draw());
    }
    assert_ne!(a[0].scene.objects, compositions(6, 1)[0].scene.objects);
}

#[test]
fn pictures_have_the_promised_sizes_and_one_to_five_objects() {
    for Composition { scene, .. } in compositions(11, 300) {
        let (long, short) = (scene.width.max(scene.height), scene.width.min(scene.height));
        assert!(
            short >= 320 && long <= 512 && short * 4 >= long * 3,
            "{long} x {short}"
        );
        assert!((1..=5).contains(&scene.objects.len()));
        assert!(scene.texts.len() <= 2);
        assert!(!scene.caption.is_empty() && !scene.background.is_empty());
    }
}

#[test]
fn objects_and_words_lie_inside_the_picture() {
    for Composition { scene, .. } in compositions(12, 300) {
        let picture = [0.0, 0.0, scene.width as f32, scene.height as f32];
        for object in &scene.objects {
            assert!(
                contains(&picture, &object.bounds),
                "{}: {object:?}",
                scene.file
            );
        }
        for text in &scene.texts {
            assert!(
                contains(&picture, &bounds(&text.quad)),
                "{}: {text:?}",
                scene.file
            );
        }
    }
}

#[test]
fn objects_overlap_within_the_limit_unless_one_lies_in_the_hole_of_a_ring() {
    let (mut overlaps, mut in_rings) = (0, 0);
    for Composition { scene, .. } in compositions(13, 300) {
        for (i, a) in scene.objects.iter().enumerate() {
            for b in &scene.objects[i + 1..] {
                let common = intersection(&a.bounds, &b.bounds);
                let (inner, outer) = if area(&a.bounds) < area(&b.bounds) {
                    (a, b)
                } else {
                    (b, a)
                };
                if contains(&outer.bounds, &inner.bounds) {
                    assert_eq!(outer.shape, "ring", "{}", scene.file);
                    in_rings += 1;
                    continue;
                }
                let limit = OVERLAP_LIMIT * area(&inner.bounds) + 0.1;
                assert!(common <= limit, "{}: {common} of {limit}", scene.file);
                overlaps += usize::from(common > 0.0);
            }
        }
    }
    assert!(
        overlaps > 50 && in_rings > 1,
        "{overlaps} overlaps, {in_rings} in rings"
    );
}

#[test]
fn words_stay_clear_of_objects_they_are_not_printed_on() {
    let (mut printed, mut pictures) = (0, 0);
    for Composition { scene, .. } in compositions(14, 400) {
        pictures += usize::from(!scene.texts.is_empty());
        for text in &scene.texts {
            printed += usize::from(text.on.is_some());
            for object in &scene.objects {
                let apart = intersection(&bounds(&text.quad), &object.bounds) == 0.0;
                assert_eq!(
                    apart,
                    text.on.as_ref() != Some(&object.id),
                    "{}: {text:?}",
                    scene.file
                );
            }
        }
    }
    assert!(printed > 10, "{printed} words on objects");
    assert!(
        (200..=320).contains(&pictures),
        "{pictures} of 400 pictures have words"
    );
}

#[test]
fn boxes_are_tight_around_the_drawn_shape() {
    for shape in Shape::ALL {
        for degrees in [0.0, 11.0, -14.5] {
            let degrees = if shape.turns() { degrees } else { 0.0 };
            let rgb = Color::White.rgb();
            let figure = Figure {
                shape,
                rgb,
                center: [120.3, 90.6],
                radius: 50.0,
                degrees,
            };
            let ink = ink_box(
                &draw(240, 180, &flat(), std::slice::from_ref(&figure), &[]),
                12,
            );
            for (ink, truth) in ink.iter().zip(figure.bounds()) {
                assert!(
                    (ink - truth).abs() <= 1.6,
                    "{shape:?}: ink {ink}, box {truth}"
                );
            }
        }
    }
}

#[test]
fn quads_are_tight_around_the_ink_of_the_word() {
    for composition in compositions(15, 60) {
        for (print, text) in composition.prints.iter().zip(&composition.scene.texts) {
            let upright = Print {
                degrees: 0.0,
                ..print.clone()
            };
            let ink = ink_box(&draw(512, 512, &flat(), &[], &[upright]), 12);
            let quad = text
                .quad
                .map(|corner| turned(corner, print.pivot, -print.degrees));
            for (ink, truth) in ink.iter().zip(bounds(&quad)) {
                assert!(
                    (ink - truth).abs() <= 1.6,
                    "{text:?}: ink {ink}, quad {truth}"
                );
            }
            // Clockwise from the top left: right, then down.
            assert!(quad[1][0] > quad[0][0] && quad[2][1] > quad[1][1]);
            assert!(ink[3] - ink[1] >= 22.0, "{text:?} is too low");
        }
    }
}

#[test]
fn sizes_follow_their_classes() {
    for composition in compositions(16, 200) {
        let scene = &composition.scene;
        for object in &scene.objects {
            let drawn = drawn_as(&composition, object);
            let share = drawn.radius / scene.width.min(scene.height) as f32;
            let class = if object.size == "small" {
                0.09..0.1201
            } else {
                0.15..0.2201
            };
            assert!(class.contains(&share), "{}: {object:?} {share}", scene.file);
        }
    }
}

/// The figure of an object: its depth says at which place it was drawn.
fn drawn_as<'a>(composition: &'a Composition, object: &SceneObject) -> &'a Figure {
    let place = object.depth.unwrap() * composition.figures.len() as f32;
    &composition.figures[place.round() as usize - 1]
}

#[test]
fn objects_come_in_reading_order_and_depth_tells_who_is_drawn_later() {
    for composition in compositions(17, 100) {
        let objects = &composition.scene.objects;
        let keys: Vec<_> = objects
            .iter()
            .map(|o| reading_order(&o.bounds, composition.scene.height))
            .collect();
        assert!(keys.is_sorted(), "{keys:?}");
        for (place, object) in objects.iter().enumerate() {
            assert_eq!(object.id, format!("o{}", place + 1));
            let depth = object.depth.unwrap();
            let drawn = (depth * objects.len() as f32).round() as usize - 1;
            assert_eq!(
                composition.figures[drawn].bounds().map(hundredths),
                object.bounds
            );
        }
    }
}
