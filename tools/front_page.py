"""The pictures of the front page: images of MNIST become the means of their prototypes, and one is explained.

MNIST is found as the library finds it, see DATASET_ROOT.
"""
from pathlib import Path
import torch
from PIL import Image
from protoflow.all import *

FOLDER = Path(__file__).resolve().parents[1]/'nbs/images'
CLASSES = 2, 3, 4, 5, 7, 9
STILL, STEPS, SIDE, GAP = 8, 12, 96, 4      # frames an end stays, frames on the way, pixels of a side and between two


def one_of_each(data, seed=0):
    "An image of each class in `CLASSES`, at random."
    g = torch.Generator().manual_seed(seed)
    places = [(data.y == c).nonzero()[:,0] for c in CLASSES]
    return [data.x[i[torch.randint(len(i), (), generator=g)]] for i in places]


def strip(images, n_levels):
    "Images (C,H,W) side by side, as a picture of PIL."
    out = Image.new('RGB', (len(images)*(SIDE + GAP) - GAP, SIDE), 'white')
    for i,x in enumerate(images):
        pixels = Image.fromarray((to_display(x, n_levels)*255).round().astype('uint8'))
        out.paste(pixels.resize((SIDE, SIDE), Image.Resampling.NEAREST), (i*(SIDE + GAP), 0))
    return out


def moving(model, dls):
    "Images become their prototypes and come back."
    images = one_of_each(dls.test.dataset)
    ways = [morph(model, x, STEPS) for x in images]
    assert all(torch.equal(way.images[0], x.long()) for way,x in zip(ways, images)), 'an image did not come back'
    there = [strip(frame, dls.n_levels) for frame in zip(*(way.images for way in ways))]
    frames = [there[0]]*STILL + there + [there[-1]]*STILL + there[::-1]
    frames[0].save(FOLDER/'morph.gif', save_all=True, append_images=frames[1:], duration=90, loop=0, optimize=True)


def main():
    model, dls = ProtoFlow.from_pretrained('mnist'), get_dls('mnist')
    moving(model, dls)
    data = dls.train.dataset
    few = ImageData(data.x[:5000], data.y[:5000], data.n_levels, data.n_classes)
    explain(model, dls.test[0], few).savefig(FOLDER/'explanation_mnist.png', dpi=110, facecolor='white')


if __name__ == '__main__': main()
