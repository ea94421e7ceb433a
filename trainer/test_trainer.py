"""Tests of the parts that others rely on: the tokenizer's round trip, the texts, the labels, the resizing."""

import unittest

import numpy as np
from PIL import Image
from transformers import SmolVLMImageProcessor

from batches import Packer
from cache import shrink
from tokenizer import END, build_tokenizer, prompt_text
from world import CAPTION_PROMPTS, GROUNDING_PROMPT, caption_text, grounding_text, mirrored, patch_labels

SCENE = {
    "file": "a.png", "width": 400, "height": 320, "background": "noisy dark gray",
    "objects": [
        {"shape": "star", "color": "blue", "size": "small", "box": [200.0, 40.0, 260.0, 100.0]},
        {"shape": "circle", "color": "red", "size": "large", "box": [20.0, 50.0, 140.0, 170.0]},
        {"shape": "cross", "color": "green", "size": "small", "box": [10.0, 240.0, 90.0, 320.0]},
    ],
}


class Texts(unittest.TestCase):
    def test_objects_are_told_in_reading_order(self):
        star_first = ("Three objects on a noisy dark gray background: "
                      "a small blue star, a large red circle and a small green cross.")
        self.assertEqual(caption_text(SCENE), star_first)

    def test_boxes_are_thousandths_of_three_digits_within_the_picture(self):
        self.assertTrue(grounding_text(SCENE).endswith(" and a small green cross [025,750,225,999]"))

    def test_every_text_and_prompt_comes_back_exactly(self):
        tokenizer = build_tokenizer()
        answers = [f" {caption_text(SCENE)}{END}", f" {grounding_text(SCENE)}{END}"]
        for text in [prompt_text(q, 16) for q in (*CAPTION_PROMPTS, GROUNDING_PROMPT)] + answers:
            ids = tokenizer(text).input_ids
            self.assertNotIn(tokenizer.unk_token_id, ids)
            self.assertEqual(tokenizer.decode(ids), text)
        numbers = [tokenizer(f"{n:03d}").input_ids for n in range(1000)]
        self.assertEqual(len({tuple(n) for n in numbers}), 1000)
        self.assertTrue(all(len(n) == 1 for n in numbers))


class Labels(unittest.TestCase):
    def test_a_patch_knows_its_object_and_the_distances_to_its_edges(self):
        classes, edges = patch_labels(SCENE, 16)
        patch = 4 * 16 + 2  # centre at (62.5, 90) pixels, in the circle
        self.assertEqual(classes[patch].tolist(), [0, 0, 1])
        np.testing.assert_allclose(edges[patch], [42.5 / 400, 40 / 320, 77.5 / 400, 80 / 320], atol=1e-6)
        self.assertEqual(classes[15 * 16 + 15].tolist(), [6, 8, 2])

    def test_a_mirror_swaps_left_and_right_twice_back(self):
        self.assertEqual(mirrored(mirrored(SCENE)), SCENE)
        self.assertIn("circle [650,156,950,531]", grounding_text(mirrored(SCENE)))


class Pictures(unittest.TestCase):
    def test_resizing_equals_the_processor_byte_for_byte(self):
        processor = SmolVLMImageProcessor(do_image_splitting=False, size={"longest_edge": 128}, resample=1,
                                          max_image_size={"longest_edge": 128}, image_mean=[0.5] * 3, image_std=[0.5] * 3)
        random = np.random.default_rng(1)
        for width, height in ((320, 320), (512, 384), (353, 471), (411, 333)):
            picture = Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8))
            values = processor([picture], return_tensors="np")["pixel_values"][0, 0]
            levels = np.round((values * 0.5 + 0.5) * 255).astype(np.uint8).transpose(1, 2, 0)
            np.testing.assert_array_equal(levels, shrink(picture, 128))


class Rows(unittest.TestCase):
    def test_the_two_answers_see_the_picture_but_not_each_other(self):
        packer = Packer([SCENE], np.zeros((1, 128, 128, 3), np.uint8), 16, 16, seed=1)
        batch = packer.batch([0], augment=False)
        allowed, segments = batch.allowed()[0, 0], batch.segments[0]
        first, second = (segments == 1).nonzero()[:, 0], (segments == 2).nonzero()[:, 0]
        self.assertFalse(allowed[second][:, first].any())
        self.assertTrue(allowed[second][:, segments == 0].all())
        self.assertEqual(batch.positions[0, first[0]], batch.positions[0, second[0]])
        told = packer.tokenizer.decode(batch.next_ids[0][batch.taught[0]])
        self.assertEqual(told, f" {caption_text(SCENE)}{END} {grounding_text(SCENE)}{END}")


if __name__ == "__main__":
    unittest.main()
