"""A simulator of coronary angiography, and the data set it makes."""
