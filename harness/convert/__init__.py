"""Convert a torch program to a Core ML package: conversion, compression, joined functions, norm counts, torch ops."""
