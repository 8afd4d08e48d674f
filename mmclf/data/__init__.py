"""From a table and a folder of pictures to batches of tensors."""
