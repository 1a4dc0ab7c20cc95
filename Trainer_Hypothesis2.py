"""Train Hypothesis 2: the U-Net of Hypothesis 1 on images that are augmented afresh each epoch."""

import torch
from torch import nn

from common.augmentation import augment
from common.basics.arguments import add_picture, trainer_parser
from common.basics.errors import reports_errors
from common.losses import HeatmapLoss
from common.models import UNet
from common.runs.curves import draw_augmentation
from common.runs.devices import make_repeatable
from common.runs.fit import fit, load_data, set_up


@reports_errors(resumable=True)
def main(argv=None):
    parser = trainer_parser(
        __doc__,
        hypothesis=2,
        model_save_path="hypothesis_2_augmented_model.pth",
        batch_size=8,
        epochs=50,
        lr=1e-3,
        precision="fp32",
    )
    shows = "eight augmented versions of one training image"
    add_picture(parser, "--augmentation_save_path", 2, "augmentation_examples", shows)
    args = parser.parse_args(argv)
    device = set_up(args)
    make_repeatable(args.seed)  # before the network, whose first weights are drawn
    train_set, val_set = load_data(args, device)
    draw_augmentation(train_set, augment, args.seed, args.augmentation_save_path)

    model = UNet()
    loss = HeatmapLoss(nn.MSELoss(), sigma=10)
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode="min", patience=5, factor=0.5
    )
    fit(model, loss, optimizer, scheduler, train_set, val_set, args, augment=augment)
    print(f"Augmentation:    {args.augmentation_save_path}")


if __name__ == "__main__":
    main()
